"""Cached answers with and without recording, and computed ones with and without labels coming in, in turns."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import grpc
import psutil

from benchmarks.closed_loop import LoadResult, closed_loop
from benchmarks.environment import environment
from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc, types_pb2

CALLERS = 16
COMPUTING = 4
RECORDING = {"FERRY_RECORD_EXPOSURES": "true"}
TURNS = 6
LABELS_PER_SECOND = 1000
FEEDERS = 8
"""Calls with labels at once: one after the other they would not come at that rate."""
RECORDING_SHARE = 0.95
"""Of the throughput of cached answers that must be left with recording."""
LABELS_SHARE = 0.97
"""Of the throughput of computed answers that must be left with labels coming in."""

Stub: TypeAlias = "gateway_pb2_grpc.ExpressionRecognitionAsyncStub"


@dataclass(frozen=True, slots=True)
class Cost:
    """Answers per second in each turn.

    Attributes:
        what: was measured.
        without, with_it: answers a second.
        aim: share that must be left.
        labels: labels a second that were taken meanwhile, on average.
        refused: labels that were not.
        errors: calls that failed.
        cpu_without, cpu_with: milliseconds of processor time of all of the cluster's processes for each answer. They
            count what was done, so that other work on the machine changes them little.
    """

    what: str
    without: tuple[float, ...]
    with_it: tuple[float, ...]
    aim: float
    labels: float
    refused: int
    errors: int
    cpu_without: tuple[float, ...]
    cpu_with: tuple[float, ...]

    @property
    def cpu_ratio(self) -> float:
        """Processor time of an answer, without / with: the median over the turns."""
        return median(one / other for one, other in zip(self.cpu_without, self.cpu_with, strict=True))

    @property
    def ratio(self) -> float:
        """With / without: the median over the turns."""
        return median(one / other for one, other in zip(self.with_it, self.without, strict=True))

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"ratio": self.ratio, "cpu_ratio": self.cpu_ratio}


def measure(models_dir: Path, seconds: float, labels_per_call: int) -> list[Cost]:
    """Each turn takes `seconds` / TURNS; labels come `labels_per_call` at a time."""
    settings = ClusterSettings(port=0, models_dir=models_dir, log_level="warning")
    with Cluster(settings) as plain, environment(RECORDING), Cluster(settings) as recording:
        return asyncio.run(_measure([plain, recording], seconds / TURNS, labels_per_call))


async def _measure(clusters: list[Cluster], seconds: float, labels_per_call: int) -> list[Cost]:
    options = channel_options("benchmark")
    async with AsyncExitStack() as stack:
        sides = []
        for cluster in clusters:
            opened = grpc.aio.insecure_channel(target(cluster.address), options=options)
            channel = await stack.enter_async_context(opened)
            processes = [psutil.Process(endpoint.pid) for endpoint in cluster.endpoints]
            sides.append(_Side(gateway_pb2_grpc.ExpressionRecognitionStub(channel), processes))
        return [await _cached(sides, seconds), await _labelled(sides[1], seconds, labels_per_call)]


@dataclass(frozen=True, slots=True)
class _Side:
    """A cluster that is asked."""

    stub: Stub
    processes: list[psutil.Process]

    async def turn(
        self, request: gateway_pb2.RecognizeRequest, callers: int, seconds: float
    ) -> tuple[LoadResult, float]:
        """One turn, and the processor time of each answer in it, milliseconds."""
        answered, before = 0, self._seconds()

        async def call(_: int) -> None:
            nonlocal answered
            await self.stub.Recognize(request, timeout=60)
            answered += 1

        load = await closed_loop(call, callers, seconds)
        if not load.requests:
            raise RuntimeError(f"no answer within a turn of {seconds:g} s; measure for longer with --seconds")
        return load, 1000 * (self._seconds() - before) / answered

    def _seconds(self) -> float:
        """Of processor time so far."""
        return sum(process.cpu_times().user + process.cpu_times().system for process in self.processes)


async def _cached(sides: list[_Side], seconds: float) -> Cost:
    request = gateway_pb2.RecognizeRequest(image=one_face())
    rates: list[list[float]] = [[], []]
    times: list[list[float]] = [[], []]
    errors = 0
    for side in sides:
        await side.stub.Recognize(request, timeout=60)
    for turn in range(TURNS):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            load, cpu = await sides[which].turn(request, CALLERS, seconds)
            rates[which].append(load.per_second)
            times[which].append(cpu)
            errors += load.errors
    what = "cached answers, recording"
    return Cost(
        what, tuple(rates[0]), tuple(rates[1]), RECORDING_SHARE, 0.0, 0, errors, tuple(times[0]), tuple(times[1])
    )


async def _labelled(side: _Side, seconds: float, labels_per_call: int) -> Cost:
    request = gateway_pb2.RecognizeRequest(image=one_face(), bypass_cache=True)
    kept = [(await side.stub.Recognize(request, timeout=60)).request_id for _ in range(10)]
    await asyncio.sleep(1)
    batch = [
        gateway_pb2.SubmitFeedbackRequest(request_id=kept[i % len(kept)], expression=types_pb2.EXPRESSION_HAPPY)
        for i in range(labels_per_call)
    ]
    rates: list[list[float]] = [[], []]
    times: list[list[float]] = [[], []]
    errors, fed, counted = 0, 0.0, _Fed()
    for turn in range(TURNS):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            feeding = asyncio.create_task(_feed(side.stub, batch, counted)) if which else None
            load, cpu = await side.turn(request, COMPUTING, seconds)
            if feeding is not None:
                feeding.cancel()
                with suppress(asyncio.CancelledError):
                    await feeding
                fed += 1.1 * seconds
            rates[which].append(load.per_second)
            times[which].append(cpu)
            errors += load.errors
    what = f"computed answers, labels coming in {labels_per_call} a call"
    plain, labelled = (tuple(of) for of in rates)
    rate = counted.taken / fed
    return Cost(what, plain, labelled, LABELS_SHARE, rate, counted.refused, errors, tuple(times[0]), tuple(times[1]))


@dataclass(slots=True)
class _Fed:
    """How many labels were taken, and how many were not."""

    taken: int = 0
    refused: int = 0


async def _feed(stub: Stub, batch: list[gateway_pb2.SubmitFeedbackRequest], counted: _Fed) -> None:
    """Labels at their rate until it is cancelled."""
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0

    async def feeder() -> None:
        nonlocal sent
        while True:
            due, sent = start + sent / LABELS_PER_SECOND, sent + len(batch)
            await asyncio.sleep(max(due - loop.time(), 0))
            accepted = 0
            with suppress(grpc.aio.AioRpcError):
                accepted = await _given(stub, batch)
            counted.taken += accepted
            counted.refused += len(batch) - accepted

    async with asyncio.TaskGroup() as group:
        for _ in range(FEEDERS):
            group.create_task(feeder())


async def _given(stub: Stub, batch: list[gateway_pb2.SubmitFeedbackRequest]) -> int:
    """How many labels of one call were taken."""
    if len(batch) == 1:
        await stub.SubmitFeedback(batch[0], timeout=20)
        return 1
    return (await stub.SubmitFeedbackBatch(gateway_pb2.SubmitFeedbackBatchRequest(feedback=batch), timeout=20)).accepted
