"""The newest of what comes faster than it can be worked on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """What is worked on next.

    Attributes:
        number: its position among all that came, from 0.
        dropped: how many gave way to it, or to what was taken since the last one.
        item: itself.
    """

    number: int
    dropped: int
    item: T


class Newest(Generic[T]):
    """Holds one item that nobody has taken yet; a newer one takes its place. One event loop."""

    def __init__(self) -> None:
        self._waiting: Taken[T] | None = None
        self._count = 0
        self._over = False
        self._news = asyncio.Event()

    def put(self, item: T) -> None:
        """`item` is the newest; after the end it is left out."""
        if self._over:
            return
        dropped = 0 if self._waiting is None else self._waiting.dropped + 1
        self._waiting = Taken(self._count, dropped, item)
        self._count += 1
        self._news.set()

    def end(self) -> None:
        """No more come; what waits can still be taken."""
        self._over = True
        self._news.set()

    async def take(self) -> Taken[T] | None:
        """The newest one, once there is one; None: no more come."""
        await self._news.wait()
        taken, self._waiting = self._waiting, None
        if not self._over:
            self._news.clear()
        return taken
