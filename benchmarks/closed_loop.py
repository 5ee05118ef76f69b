"""A closed loop of callers over gRPC: each sends its next request when the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a loop measured; latencies in milliseconds."""

    callers: int
    requests: int
    per_second: float
    p50_ms: float
    p95_ms: float
    errors: int


async def closed_loop(call: Callable[[int], Awaitable[None]], callers: int, seconds: float) -> LoadResult:
    """Runs `callers` loops for `seconds`, after a warm-up of a tenth of that.

    What counts is what is answered within `seconds`: callers that still wait at the end have not been served. Loops
    should last several times as long as an answer takes.

    Args:
        call: makes the n-th request; raising counts as an error.
        callers: loops at the same time.
        seconds: measured time.
    """
    latencies: list[float] = []
    errors = 0
    numbers = iter(range(1 << 62))
    begin = time.perf_counter() + seconds / 10
    end = begin + seconds

    async def loop() -> None:
        nonlocal errors
        while (started := time.perf_counter()) < end:
            try:
                await call(next(numbers))
            except Exception:
                errors += 1
                continue
            if begin <= (answered := time.perf_counter()) <= end:
                latencies.append((answered - started) * 1000)

    await asyncio.gather(*(loop() for _ in range(callers)))
    p50, p95 = np.percentile(latencies, (50, 95)) if latencies else (float("nan"), float("nan"))
    return LoadResult(callers, len(latencies), len(latencies) / seconds, float(p50), float(p95), errors)
