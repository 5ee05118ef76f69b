"""Calls that last for as long as their callers like: how many at once, and which of them gives way to a new one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from serving.errors import OverloadedError
from serving.rpc.open_calls import RETRY_SECONDS, Context

QUIET_SECONDS = 5.0
"""After which a call on which nothing comes and goes gives way, where quiet is a reason to."""


class Seats:
    """For some methods. One event loop.

    Attributes:
        why: what a call is told that gives way.
    """

    def __init__(self, most: int, refusal: Callable[[], OverloadedError], *, quiet_gives_way: bool) -> None:
        """
        Args:
            most: calls at once.
            refusal: for one that finds no room.
            quiet_gives_way: whether the one gives way on which nothing has come or gone for the longest time, and for
                5 s. Else, for calls that are quiet by nature, one of a connection that has more of them than the new
                one's.
        """
        self._most = most
        self._refusal = refusal
        self._quiet_gives_way = quiet_gives_way
        self.why = (
            "nothing has come for a while, and others wait; call again"
            if quiet_gives_way
            else "other connections have fewer calls of this kind; call again"
        )
        self._taken: dict[object, Seat] = {}
        """By their contexts, the oldest first."""

    def take(self, context: Context) -> Seat:
        """A seat for the time of an `async with`, which raises OverloadedError where there is none, and when it is
        needed for another call."""
        return Seat(self, context)

    def heard(self, context: Context) -> None:
        """Something has come from the caller, or gone to it."""
        seat = self._taken.get(context)
        if seat is not None:
            seat.heard = asyncio.get_running_loop().time()

    def enter(self, seat: Seat) -> None:
        """
        Raises:
            OverloadedError: all are taken, and nobody gives way.
        """
        if len(self._taken) >= self._most:
            one = self._who_gives_way(seat)
            if one is None:
                raise self._refusal()
            self.leave(one)
            one.end()
        self._taken[seat.context] = seat

    def leave(self, seat: Seat) -> None:
        self._taken.pop(seat.context, None)

    def _who_gives_way(self, new: Seat) -> Seat | None:
        held = Counter(seat.connection for seat in self._taken.values())
        own = held[new.connection]
        if self._quiet_gives_way:
            since = new.heard - QUIET_SECONDS
            found = [seat for seat in self._taken.values() if seat.heard <= since and held[seat.connection] >= own]
        else:
            found = [seat for seat in self._taken.values() if held[seat.connection] > own + 1]
        return min(found, key=lambda seat: (-held[seat.connection], seat.heard), default=None)


class Seat:
    """Of one call.

    Attributes:
        context: of the call.
        connection: that it came over.
        heard: when something came or went last, by the loop's clock.
    """

    def __init__(self, seats: Seats, context: Context) -> None:
        self.context = context
        self.connection = context.peer()
        self.heard = asyncio.get_running_loop().time()
        self._seats = seats
        self._time = asyncio.timeout(None)

    def end(self) -> None:
        """It is another's; the call ends."""
        if not self._time.expired():
            self._time.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        self._seats.enter(self)
        await self._time.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._seats.leave(self)
        try:
            await self._time.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise OverloadedError(self._seats.why, RETRY_SECONDS) from None
