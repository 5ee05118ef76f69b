"""Loops of callers around one server, with its CPU time beside their latencies."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.machine import Clock

WARM = 0.25
"""Share of a loop's time that goes before what is measured."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What a loop measured; latencies in milliseconds, CPU in milliseconds an image.

    Attributes:
        others: share of the CPUs that others had meanwhile.
    """

    images: int
    seconds: float
    latencies: tuple[float, ...]
    cpu_ms: float
    errors: int
    others: float

    @property
    def per_second(self) -> float:
        return self.images / self.seconds

    def percentile(self, share: float) -> float:
        """`share` in percent; NaN where nothing was answered."""
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


def summary(latencies: list[float], before: Clock, after: Clock, errors: int, images: int | None = None) -> Loop:
    """Of what ended between two readings."""
    count = len(latencies) if images is None else images
    cpu_ms = (after.ours - before.ours) * 1000 / max(count, 1)
    return Loop(count, after.wall - before.wall, tuple(latencies), cpu_ms, errors, after.others_since(before))


async def closed(call: Callable[[int], Awaitable[object]], callers: int, seconds: float, pids: Iterable[int]) -> Loop:
    """Each caller sends its next request when the last is answered; all end together."""
    latencies: list[float] = []
    errors = 0
    measuring = False
    numbers = iter(range(time.time_ns() >> 10, 1 << 62))

    async def caller() -> None:
        nonlocal errors
        while True:
            started = time.perf_counter()
            try:
                await call(next(numbers))
            except Exception:
                errors += measuring
                await asyncio.sleep(0.01)
                continue
            if measuring:
                latencies.append((time.perf_counter() - started) * 1000)

    tasks = [asyncio.create_task(caller()) for _ in range(callers)]
    try:
        await asyncio.sleep(seconds * WARM)
        before, measuring = Clock.read(pids), True
        await asyncio.sleep(seconds)
        measuring = False
        return summary(latencies, before, Clock.read(pids), errors)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def opened(call: Callable[[int], Awaitable[object]], rate: float, seconds: float, pids: Iterable[int]) -> Loop:
    """Requests at Poisson times, whatever became of those before; latency counts from when one was due."""
    latencies: list[float] = []
    errors = 0
    chance = random.Random(16)
    base = time.time_ns() >> 10

    async def one(number: int, due: float) -> None:
        nonlocal errors
        try:
            await call(base + number)
        except Exception:
            errors += 1
        else:
            latencies.append((time.perf_counter() - due) * 1000)

    before = Clock.read(pids)
    tasks: list[asyncio.Task[None]] = []
    due = start = time.perf_counter()
    while (due := due + chance.expovariate(rate)) < start + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(len(tasks), due)))
    await asyncio.gather(*tasks)
    return summary(latencies, before, Clock.read(pids), errors)
