"""Identical requests in flight are computed once, for all who wait."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from serving.errors import DeadlineError, ServiceError
from serving.rpc import context as request_context

T = TypeVar("T")

_SHORT_SECONDS = 0.3
"""Of a computation that ended with so little of its time left, want of time may be why something is missing: the
ensembler goes without late models a quarter of a second before the end at most, and two hops keep some of theirs."""
_MUCH_MORE = 2.0
"""Times what a computation had, which a caller must have left, for it to be worth starting again."""


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    started: float
    """time.monotonic() seconds."""
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
    they start it again once, under the latest deadline of them all. So do those with much more of it where something
    is missing in the result, and want of time may be why.
    """

    def __init__(self, lacks: Callable[[T], bool] = lambda _result: False) -> None:
        """
        Args:
            lacks: whether something is missing in a result, which more time might have brought.
        """
        self._lacks = lacks
        self._flights: dict[bytes, _Flight[T]] = {}

    async def run(
        self, key: bytes, compute: Callable[[], Awaitable[T]], again: Callable[[], Awaitable[T]] | None = None
    ) -> tuple[T, bool]:
        """The result under `key`, and whether it was computed for another caller.

        Args:
            key: of the computation.
            compute: what to do when nobody does it yet. It runs in a task of its own, with the caller's context.
            again: what to do in its place where something is missing in a first result; None: the same.

        Raises:
            Exception: what the computation raised; all who wait for it get the same, but those who hold a result that
                lacks something, which is better than an error.
        """
        context = request_context.current.get()
        deadline = float("inf") if context is None else context.deadline
        latest = deadline
        lacking: list[T] = []
        while True:
            flight = self._flights.get(key)
            joined = flight is not None
            if flight is None:
                flight = self._start(key, again if lacking and again is not None else compute, latest)
            flight.latest = max(flight.latest, deadline)
            flight.waiters += 1
            # Who holds a result already does not wait for a better one until there is no time to give it.
            limit = deadline - _SHORT_SECONDS - time.monotonic() if lacking and deadline < float("inf") else None
            try:
                async with asyncio.timeout(limit):
                    result = await asyncio.shield(flight.task)
                if lacking or not self._lacks(result) or not _was_short(flight, deadline):
                    return result, joined
                lacking.append(result)
                latest = flight.latest
                self._forget(key, flight)
            except (ServiceError, TimeoutError) as error:
                if lacking:
                    return lacking[0], True
                if not isinstance(error, DeadlineError) or deadline <= flight.deadline:
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
        flight = _Flight(task, time.monotonic(), deadline, latest=deadline)
        self._flights[key] = flight
        task.add_done_callback(lambda _task: self._forget(key, flight))
        return flight

    def _forget(self, key: bytes, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


def _was_short(flight: _Flight[T], deadline: float) -> bool:
    """Whether a flight that has just ended had little time, beside a caller with this deadline."""
    now = time.monotonic()
    more = max(_SHORT_SECONDS, _MUCH_MORE * (flight.deadline - flight.started))
    return flight.deadline - now <= _SHORT_SECONDS and deadline - now > more


async def _until(deadline: float, compute: Callable[[], Awaitable[T]]) -> T:
    with suppress(TimeoutError):
        async with asyncio.timeout(None if deadline == float("inf") else deadline - time.monotonic()):
            return await compute()
    # Not from that one: the frame in which it was raised holds this task, and the task its error.
    raise DeadlineError("no answer in time")
