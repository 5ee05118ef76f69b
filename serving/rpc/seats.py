"""Calls that last for as long as their callers like: how many at once, and which of them gives way to a new one.

Whoever holds several gives way to whoever holds fewer: first among callers, then among the connections of one caller.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from serving.errors import OverloadedError
from serving.rpc.open_calls import RETRY_SECONDS

QUIET_SECONDS = 5.0
"""After which a stream on which nothing comes and goes gives way."""
_QUIET = "nothing has come for a while, and others wait; call again"
_SHARE = "others have fewer calls of this kind, and wait; call again in a while"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes a seat.

    Attributes:
        owner: the caller, as far as it is known; else the address of its machine.
        connection: that it came over.
    """

    owner: str
    connection: str


class Seats:
    """For some calls. One event loop."""

    def __init__(self, most: int, refusal: Callable[[], OverloadedError], *, quiet: float | None) -> None:
        """
        Args:
            most: calls at once.
            refusal: for one that finds no room.
            quiet: seconds after which a call on which nothing has come or gone gives way, the quietest first, unless
                its caller has fewer than the new one's; None: these calls are quiet by nature.
        """
        self._most = most
        self._refusal = refusal
        self._quiet = quiet
        self._taken: dict[object, Seat] = {}
        """By their calls, the oldest first."""

    def take(self, call: object, holder: Holder) -> Seat:
        """A seat for the time of an `async with`, which raises OverloadedError where there is none, and when it is
        needed for another call."""
        return Seat(self, call, holder)

    def heard(self, call: object) -> None:
        """Something has come from the caller, or gone to it."""
        seat = self._taken.get(call)
        if seat is not None:
            seat.heard = asyncio.get_running_loop().time()

    def enter(self, seat: Seat) -> None:
        """
        Raises:
            OverloadedError: all are taken, and nobody gives way.
        """
        if len(self._taken) >= self._most:
            one = self._make_way(seat)
            if one is None:
                raise self._refusal()
            self.leave(one)
        self._taken[seat.call] = seat

    def leave(self, seat: Seat) -> None:
        self._taken.pop(seat.call, None)

    def _make_way(self, new: Seat) -> Seat | None:
        """One that ends for `new`; None: nobody has to."""
        taken = self._taken.values()
        owners = Counter(seat.holder.owner for seat in taken)
        connections = Counter(seat.holder for seat in taken)

        def lead(seat: Seat) -> int:
            if seat.holder.owner == new.holder.owner:
                return connections[seat.holder] - connections[new.holder]
            return owners[seat.holder.owner] - owners[new.holder.owner]

        def order(seat: Seat) -> tuple[int, int, float]:
            return -owners[seat.holder.owner], -connections[seat.holder], seat.heard

        why, since = _QUIET, new.heard - (self._quiet or 0.0)
        found = [] if self._quiet is None else [one for one in taken if one.heard <= since and lead(one) >= 0]
        if not found:
            # With one more, the new one's caller still has no more than this one's.
            why, found = _SHARE, [one for one in taken if lead(one) > 1]
        one = min(found, key=order, default=None)
        if one is not None:
            one.end(why)
        return one


class Seat:
    """Of one call.

    Attributes:
        call: whose it is.
        holder: who made that.
        heard: when something came or went last, by the loop's clock.
    """

    def __init__(self, seats: Seats, call: object, holder: Holder) -> None:
        self.call = call
        self.holder = holder
        self.heard = asyncio.get_running_loop().time()
        self._seats = seats
        self._time = asyncio.timeout(None)
        self._why = ""

    def end(self, why: str) -> None:
        """It is another's; the call ends, and is told why."""
        if not self._time.expired():
            self._why = why
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
            raise OverloadedError(self._why, RETRY_SECONDS) from None
