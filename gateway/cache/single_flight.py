"""Identical requests in flight are computed once, for all who wait."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from serving.errors import DeadlineError
from serving.rpc import context as request_context

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    deadline: float
    """When the computation ends at the latest, time.monotonic() seconds."""
    latest: float
    """The latest deadline of all who wait."""
    waiters: int = 0


class SingleFlight(Generic[T]):
    """Computations by key. One event loop.

    A computation belongs to no caller: it goes on while anyone waits for it and is cancelled when the last one has
    gone. It runs under the deadline of the caller who started it, because what stands behind it decides by the
    deadline (drops what comes too late, answers with fewer models). When that time is up and others have more of it,
    they start it again once, under the latest deadline of them all.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[T]] = {}

    async def run(self, key: bytes, compute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result under `key`, and whether it was computed for another caller.

        Args:
            key: of the computation.
            compute: what to do when nobody does it yet. It runs in a task of its own, with the caller's context.

        Raises:
            Exception: what the computation raised; all who wait for it get the same.
        """
        context = request_context.current.get()
        deadline = float("inf") if context is None else context.deadline
        latest = deadline
        while True:
            flight = self._flights.get(key)
            joined = flight is not None
            if flight is None:
                flight = self._start(key, compute, latest)
            flight.latest = max(flight.latest, deadline)
            flight.waiters += 1
            try:
                return await asyncio.shield(flight.task), joined
            except DeadlineError:
                if deadline <= flight.deadline:
                    raise
                latest = flight.latest
                # Whoever comes in the turn in which it ends finds it still here, would hear the same, and so for ever.
                self._forget(key, flight)
            finally:
                flight.waiters -= 1
                if not flight.waiters and not flight.task.done():
                    self._forget(key, flight)
                    flight.task.cancel()
                # An error's traceback holds this frame, and the task the error: a circle that would keep the image.
                del flight

    def _start(self, key: bytes, compute: Callable[[], Awaitable[T]], deadline: float) -> _Flight[T]:
        surroundings = contextvars.copy_context()
        context = request_context.current.get()
        if context is not None:
            surroundings.run(request_context.current.set, replace(context, deadline=deadline))
        task = asyncio.create_task(_until(deadline, compute), context=surroundings)
        flight = _Flight(task, deadline, latest=deadline)
        self._flights[key] = flight
        task.add_done_callback(lambda _task: self._forget(key, flight))
        return flight

    def _forget(self, key: bytes, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _until(deadline: float, compute: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(None if deadline == float("inf") else deadline - time.monotonic()):
            return await compute()
    except TimeoutError as error:
        raise DeadlineError("no answer in time") from error
