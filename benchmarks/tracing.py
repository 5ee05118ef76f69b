"""What tracing costs: the same cluster with tracing off and with 10 % of the calls traced, in turns, in one run.

Both clusters run side by side and are loaded in turns, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import grpc

from benchmarks.closed_loop import closed_loop
from benchmarks.environment import environment
from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from cli.cluster.ports import free
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

SAMPLE_RATIO = 0.1
CALLERS = 4
TURNS = 5
CACHED, COMPUTED = KINDS = "from the cache", "computed"


@dataclass(frozen=True, slots=True)
class Cost:
    """Answers per second of one kind of load, in each turn.

    Attributes:
        what: one of KINDS.
        off: without tracing.
        traced: with it.
        errors: calls that failed, of both.
    """

    what: str
    off: tuple[float, ...]
    traced: tuple[float, ...]
    errors: int

    @property
    def ratio(self) -> float:
        """Traced / off: the median over the turns."""
        return median(traced / off for traced, off in zip(self.traced, self.off, strict=True))

    def record(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self) | {"ratio": self.ratio}


def measure(models_dir: Path, seconds: float, turns: int = TURNS, kinds: Sequence[str] = KINDS) -> list[Cost]:
    """What tracing costs, of each of `kinds`.

    Args:
        models_dir: the model repository.
        seconds: of one turn of each cluster.
        turns: of each cluster.
        kinds: of KINDS.
    """
    settings = ClusterSettings(port=0, models_dir=models_dir, log_level="warning")
    (port,) = free(1)
    exporting = {"FERRY_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "FERRY_TRACE_SAMPLE_RATIO": str(SAMPLE_RATIO)}
    sink = subprocess.Popen([sys.executable, "-m", "benchmarks.otlp_sink", str(port)])
    try:
        with Cluster(settings) as off, environment(exporting), Cluster(settings) as traced:
            return [asyncio.run(_compare(what, off.address, traced.address, seconds, turns)) for what in kinds]
    finally:
        sink.terminate()
        sink.wait(10)


async def _compare(what: str, off: str, traced: str, seconds: float, turns: int) -> Cost:
    request = gateway_pb2.RecognizeRequest(image=one_face(), bypass_cache=what == COMPUTED)
    rates: dict[str, list[float]] = {off: [], traced: []}
    errors = 0
    options = channel_options("benchmark")
    async with (
        grpc.aio.insecure_channel(target(off), options=options) as one,
        grpc.aio.insecure_channel(target(traced), options=options) as other,
    ):
        stubs = {address: gateway_pb2_grpc.ExpressionRecognitionStub(c) for address, c in ((off, one), (traced, other))}
        for stub in stubs.values():
            await stub.Recognize(request, timeout=60)
        for turn in range(turns):
            # Who goes first changes, so that neither always runs on what the other has warmed or heated.
            for address in (off, traced) if turn % 2 == 0 else (traced, off):

                async def call(_: int, address: str = address) -> None:
                    await stubs[address].Recognize(request, timeout=60)

                load = await closed_loop(call, CALLERS, seconds)
                if not load.requests:
                    raise RuntimeError(f"no answer within a turn of {seconds:g} s; measure for longer with --seconds")
                rates[address].append(load.per_second)
                errors += load.errors
    return Cost(what, tuple(rates[off]), tuple(rates[traced]), errors)
