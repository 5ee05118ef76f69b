"""Requests to a batcher, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from serving.models.backends.base import Rows
from serving.models.batching.batcher import MicroBatcher
from serving.models.batching.result import BatchResult
from serving.telemetry import metrics

LATER = 1e9
"""A deadline that never comes, time.monotonic() seconds."""

Make = Callable[..., MicroBatcher]


def rows(*values: float) -> Rows:
    return np.array(values, np.float32)[:, None]


def ask(batcher: MicroBatcher, *values: float, deadline: float = LATER) -> asyncio.Task[BatchResult]:
    return asyncio.create_task(batcher.submit(rows(*values), deadline))


def answer(result: BatchResult) -> list[float]:
    return [float(v) for v in result.outputs["y"][:, 0]]


async def queued(batcher: MicroBatcher, count: int) -> None:
    """Lets submissions reach the queue."""
    while batcher.pending < count:
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def settle(awaitable: Awaitable[BatchResult]) -> BatchResult:
    async with asyncio.timeout(30):
        return await awaitable


def in_flight() -> float:
    value = metrics.IN_FLIGHT.labels("gated")._value.get()
    assert isinstance(value, float)
    return value
