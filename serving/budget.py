"""Bounds what a service holds at once (bytes of pictures, crops), so that large requests queue and do not add up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from serving.errors import OverloadedError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    units: int
    burden: int
    turn: asyncio.Future[None]


class Budget:
    """First come, first served. One event loop."""

    def __init__(self, size: int, max_waiting: int, what: str, max_burden: int | None = None) -> None:
        """
        Args:
            size: most units held at once; a request for more than that waits until it is alone.
            max_waiting: requests that may wait; one more is refused.
            what: the requests, for the error, such as `images`.
            max_burden: most that waiting requests may hold together of their own, such as bytes not decoded yet; one
                that would exceed it is refused, unless nobody else waits. None: no bound.
        """
        self._limit = size
        self._what = what
        self._max_waiting = max_waiting
        self._max_burden = max_burden
        self._held = 0
        self._burden = 0
        self._waiting: deque[_Waiting] = deque()

    @asynccontextmanager
    async def hold(
        self, units: int, burden: int = 0, *, again: bool = False, turn: Lease | None = None
    ) -> AsyncIterator[Lease]:
        """Waits until `units` more fit, and holds them for as long as the context lasts.

        A wait ends with its task: a caller that goes or whose time is up leaves the queue at once.

        Args:
            units: how much.
            burden: what the request holds by itself while it waits.
            again: the request held units before and let go of them all: it is next, and is not refused.
            turn: held already, and to be held until no thread needs these units any more.

        Raises:
            OverloadedError: too many requests wait already.
        """
        units = min(units, self._limit)
        if self._waiting or self._held + units > self._limit:
            if not again:
                self._check_room(burden)
            await self._wait(_Waiting(units, burden, asyncio.get_running_loop().create_future()), first=again)
        else:
            self._held += units
        lease = Lease(units, self._release)
        try:
            yield lease
        finally:
            lease._end()
            if turn is not None:
                turn._work = lease._work

    def _check_room(self, burden: int) -> None:
        full = self._max_burden is not None and self._waiting and self._burden + burden > self._max_burden
        if full or len(self._waiting) >= self._max_waiting:
            raise OverloadedError(f"too many {self._what} wait already", retry_after=1.0)

    async def _wait(self, entry: _Waiting, *, first: bool) -> None:
        (self._waiting.appendleft if first else self._waiting.append)(entry)
        self._burden += entry.burden
        try:
            await entry.turn
        except asyncio.CancelledError:
            if entry.turn.done() and not entry.turn.cancelled():
                self._release(entry.units)
            else:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._admit()
            raise
        finally:
            self._burden -= entry.burden

    def _release(self, units: int) -> None:
        self._held -= units
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._held + self._waiting[0].units <= self._limit:
            entry = self._waiting.popleft()
            if entry.turn.cancelled():  # it has left, and its task does not know yet
                continue
            self._held += entry.units
            entry.turn.set_result(None)


class _Piece(Generic[T]):
    """Work for a pool, which can be called off although the pool may have kept it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.done: Future[T] = Future()
        self._work: Callable[[], T] | None = work

    def forget(self) -> None:
        """It was called off: the pool keeps this, and nothing that the work needs."""
        self._work = None

    def run(self) -> None:
        if not self.done.set_running_or_notify_cancel():
            return
        assert self._work is not None
        try:
            result = self._work()
        except BaseException as error:
            self.done.set_exception(error)
            # The error's traceback holds this frame and those below: a circle would keep the picture.
            del self.done
        else:
            self.done.set_result(result)


class Lease:
    """Units that are held."""

    def __init__(self, units: int, release: Callable[[int], None]) -> None:
        self._units = units
        self._release = release
        self._work: Future[object] | None = None

    def shrink(self, units: int) -> None:
        """Gives back all but `units`."""
        if units < self._units:
            spare, self._units = self._units - units, units
            self._release(spare)

    async def run(self, pool: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a thread. A thread cannot be stopped: where the task is cancelled meanwhile, the units are
        held until the thread is done, since it needs them until then.

        Raises:
            OverloadedError: the pool takes no work, such as where the system starts no thread; `work` never runs.
        """
        piece = _Piece(partial(work, *args, **kwargs))
        future = piece.done
        try:
            pool.submit(piece.run)
        except RuntimeError as error:
            # The pool may have queued it before no thread could be started: it is not to run with nothing held for it.
            if future.cancel():
                piece.forget()
                raise OverloadedError("no thread is free", retry_after=1.0) from error
        self._work = future  # type: ignore[assignment]
        try:
            return await asyncio.wrap_future(future)
        finally:
            if future.cancelled():
                piece.forget()
            # An error's traceback holds this frame, which is not to hold the error: a circle would keep the picture.
            if future.done():
                self._work = None
            del future, piece

    def _end(self) -> None:
        units, self._units = self._units, 0
        if self._work is None or self._work.done():
            self._release(units)
            return
        loop = asyncio.get_running_loop()

        def give_back(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._release, units)

        self._work.add_done_callback(give_back)
