"""What calls share: a bound on how many are open and on how many messages are being received, apart for each purpose.

Health has a lane of its own, so that whoever fills the others cannot make a process look dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from grpc_health.v1 import health

from serving.rpc import context as request_context
from serving.rpc.open_calls import Context, OpenCalls, spare
from serving.rpc.receiving import Receiving
from serving.rpc.seats import QUIET_SECONDS, Holder, Seats
from serving.rpc.senders import owner_of

PLACES = 8
"""Messages received at once where nothing else is said."""
MAX_CALLS = 1000
"""Calls open at once where nothing else is said."""
STREAMS = 8
"""Streams of requests open at once where nothing else is said."""
HEALTH_PLACES, REFLECTION_PLACES = 2, 1
_MAX_CHECKS = 64
_ASIDE_TIMEOUT_SECONDS = 5.0
_ASIDE_PATIENCE_SECONDS = 0.5
_CHECK = f"/{health.SERVICE_NAME}/Check"


@dataclass(frozen=True, slots=True)
class Lane:
    """Of some methods.

    Attributes:
        calls: how many are open.
        receiving: their messages.
        seats: of calls that last as long as their callers like; None: these do not.
    """

    calls: OpenCalls
    receiving: Receiving
    seats: Seats | None = None

    def seat(self, context: Context) -> AbstractAsyncContextManager[None]:
        """For the time of a call: its seat, where it needs one."""
        if self.seats is None:
            return nullcontext()
        request, peer = request_context.current.get(), context.peer()
        owner = owner_of(None if request is None else request.caller, peer)
        return self.seats.take(context, Holder(owner, peer))

    def heard(self, context: Context) -> None:
        """Something has come from the caller, or gone to it."""
        if self.seats is not None:
            self.seats.heard(context)


class Lanes:
    """Of a server."""

    def __init__(
        self,
        *,
        max_calls: int = MAX_CALLS,
        places: int = PLACES,
        streams: int = STREAMS,
        timeout: float = 30.0,
        hang_up: Callable[[str], bool] = lambda peer: False,
    ) -> None:
        """
        Args:
            max_calls: of the server's own services open at once.
            places: their messages received at once.
            streams: calls that live as long as their callers like (`Kind.STREAM`), open at once. Each waits for a
                message all the time, so each has a place, and takes none of the others'.
            timeout: seconds for a message to be complete.
            hang_up: ends the connection of a peer, by the name that gRPC gives it; whether it could.
        """
        soon = min(timeout, _ASIDE_TIMEOUT_SECONDS)
        health_messages = Receiving(HEALTH_PLACES, soon, _ASIDE_PATIENCE_SECONDS)
        self.own = Lane(OpenCalls(max_calls, hang_up), Receiving(places, timeout))
        self.check = Lane(OpenCalls(_MAX_CHECKS, hang_up), health_messages)
        self._rest = Lane(OpenCalls(_MAX_CHECKS, hang_up), Receiving(REFLECTION_PLACES, soon, _ASIDE_PATIENCE_SECONDS))
        # One that has given its seat to another needs a moment to leave.
        among, watches = (OpenCalls(most + spare(most), hang_up) for most in (streams, max_calls))
        self.streams = Lane(
            among,
            Receiving(streams + spare(streams), timeout),
            Seats(streams, among.refusal, quiet=QUIET_SECONDS),
        )
        self._watch = Lane(watches, health_messages, Seats(max_calls, watches.refusal, quiet=None))

    @property
    def peers(self) -> Iterator[str]:
        """Who has calls open, by the names that gRPC gives them."""
        for lane in (self.own, self.streams, self.check, self._watch, self._rest):
            yield from lane.calls.peers

    def aside(self, method: str) -> Lane:
        """The lane of a method that is not of the server's own services: health, reflection, what does not exist."""
        if method == _CHECK:
            return self.check
        return self._watch if method.startswith(f"/{health.SERVICE_NAME}/") else self._rest
