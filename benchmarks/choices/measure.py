"""A cluster for each choice, one after the other, in rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc

from benchmarks.closed_loop import closed_loop
from benchmarks.peers.bodies import numbered
from benchmarks.peers.machine import cpu_seconds
from benchmarks.photo import one_face
from cli.cluster import Cluster, ClusterSettings
from cli.cluster.settings import DEFAULT_CLASSIFIERS, DEFAULT_PROCESSES
from ferry.v1 import ensembler_pb2, gateway_pb2, gateway_pb2_grpc

TIMEOUT = 30.0
SURE = 0.57
"""Confidence below which a face goes further in the cascade that is measured."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A way of judging a face.

    Attributes:
        name: in words.
        classifiers: weight of each that is asked.
        views: whether each crop is judged in five views.
        ask_below: see `cli.cluster.ClusterSettings`.
    """

    name: str
    classifiers: Mapping[str, float]
    views: bool = False
    ask_below: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over the rounds.

    Attributes:
        per_second: images answered with all callers at once.
        cpu_ms: CPU time of the whole cluster for each of them, ms.
        p50_ms: median latency of one caller alone, ms.
        errors: calls that failed, of all rounds.
    """

    per_second: float
    cpu_ms: float
    p50_ms: float
    errors: int


def choices() -> tuple[Choice, ...]:
    """Each of the recipe's classifiers alone, a cascade, the vote, and the vote over five views.

    The cascade asks the heaviest classifier first and the others about faces less sure than `SURE`. The photo's one
    face is surer than that, so it costs the least that the cascade can; with every face going further (nothing is as
    sure as 1) it costs the most.
    """
    alone = [Choice(f"{name} alone", {name: 1.0}) for name in DEFAULT_CLASSIFIERS]
    heaviest = dict(sorted(DEFAULT_CLASSIFIERS.items(), key=lambda item: -item[1]))
    later = list(heaviest)[1:]
    cascades = (
        Choice(f"a cascade, below {SURE:g}", heaviest, ask_below=dict.fromkeys(later, SURE)),
        Choice("a cascade, every face", heaviest, ask_below=dict.fromkeys(later, 1.0)),
    )
    voting = (Choice("the vote", DEFAULT_CLASSIFIERS), Choice("the vote, five views", DEFAULT_CLASSIFIERS, True))
    return (*alone, *(cascades if later else ()), *voting)


def measure(
    models_dir: Path, asked: Sequence[Choice], callers: int, seconds: float, rounds: int, say: Callable[[str], None]
) -> dict[str, Cost]:
    """Costs by name of the choice. Every request has other bytes, so that no answer is a kept one."""
    seen: dict[str, list[Cost]] = {choice.name: [] for choice in asked}
    for turn in range(rounds):
        for choice in asked:
            settings = ClusterSettings(
                port=0,
                http_port=None,
                models_dir=models_dir,
                classifiers=choice.classifiers,
                ask_below=choice.ask_below,
                processes=DEFAULT_PROCESSES,
                cache=False,
                log_level="error",
            )
            with Cluster(settings) as cluster:
                pids = [endpoint.pid for endpoint in cluster.endpoints]
                cost = asyncio.run(_measure(cluster.address, pids, choice.views, callers, seconds))
            seen[choice.name].append(cost)
            what = f"{cost.per_second:.1f} images/s, {cost.cpu_ms:.1f} ms of CPU, {cost.p50_ms:.1f} ms alone"
            say(f"round {turn + 1} of {rounds}: {choice.name}: {what}")
    return {
        name: Cost(
            median(cost.per_second for cost in costs),
            median(cost.cpu_ms for cost in costs),
            median(cost.p50_ms for cost in costs),
            sum(cost.errors for cost in costs),
        )
        for name, costs in seen.items()
    }


async def _measure(address: str, pids: Sequence[int], views: bool, callers: int, seconds: float) -> Cost:
    photo = one_face()
    options = ensembler_pb2.RecognizeOptions(test_time_augmentation=views)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        sent = 0

        async def call(number: int) -> None:
            nonlocal sent
            sent += 1
            request = gateway_pb2.RecognizeRequest(image=numbered(photo, sent), options=options, bypass_cache=True)
            await stub.Recognize(request, timeout=TIMEOUT, wait_for_ready=True)

        alone = await closed_loop(call, 1, seconds / 2)
        before, first = cpu_seconds(pids), sent
        together = await closed_loop(call, callers, seconds)
        used = cpu_seconds(pids) - before
    return Cost(together.per_second, used * 1000 / max(1, sent - first), alone.p50_ms, alone.errors + together.errors)
