"""Bounds what a service holds at once (decoded pixels, crops), so that large requests queue and do not add up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.errors import OverloadedError


class Budget:
    """First come, first served. One event loop."""

    def __init__(self, size: int, max_waiting: int, what: str) -> None:
        """
        Args:
            size: most units held at once; a request for more than that waits until it is alone.
            max_waiting: requests that may wait; one more is refused.
            what: the requests, for the error, such as `images`.
        """
        self._limit = size
        self._what = what
        self._max_waiting = max_waiting
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, units: int) -> AsyncIterator[None]:
        """Waits until `units` more fit, and holds them for as long as the context lasts.

        Raises:
            OverloadedError: too many requests wait already.
        """
        units = min(units, self._limit)
        if self._waiting or self._held + units > self._limit:
            if len(self._waiting) >= self._max_waiting:
                raise OverloadedError(f"too many {self._what} wait already", retry_after=1.0)
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = units, turn
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release(units)
                else:
                    self._waiting.remove(entry)
                    self._admit()
                raise
        else:
            self._held += units
        try:
            yield
        finally:
            self._release(units)

    def _release(self, units: int) -> None:
        self._held -= units
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._held + self._waiting[0][0] <= self._limit:
            units, turn = self._waiting.popleft()
            self._held += units
            turn.set_result(None)
