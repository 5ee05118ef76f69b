"""What calls share: a bound on how many are open and on how many messages are being received, apart for each purpose.

Health has a lane of its own, so that whoever fills the others cannot make a process look dead.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_health.v1 import health

from serving.rpc.open_calls import OpenCalls
from serving.rpc.receiving import Receiving

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
    """

    calls: OpenCalls
    receiving: Receiving


class Lanes:
    """Of a server."""

    def __init__(
        self, *, max_calls: int = MAX_CALLS, places: int = PLACES, streams: int = STREAMS, timeout: float = 30.0
    ) -> None:
        """
        Args:
            max_calls: of the server's own services open at once.
            places: their messages received at once.
            streams: calls that live as long as their callers like (`Kind.STREAM`), open at once. Each waits for a
                message all the time, so each has a place, and takes none of the others'.
            timeout: seconds for a message to be complete.
        """
        soon = min(timeout, _ASIDE_TIMEOUT_SECONDS)
        health_messages = Receiving(HEALTH_PLACES, soon, _ASIDE_PATIENCE_SECONDS)
        self.own = Lane(OpenCalls(max_calls), Receiving(places, timeout))
        self.streams = Lane(OpenCalls(streams), Receiving(streams, timeout))
        self.check = Lane(OpenCalls(_MAX_CHECKS), health_messages)
        self._watch = Lane(OpenCalls(max_calls), health_messages)
        self._rest = Lane(OpenCalls(_MAX_CHECKS), Receiving(REFLECTION_PLACES, soon, _ASIDE_PATIENCE_SECONDS))

    def aside(self, method: str) -> Lane:
        """The lane of a method that is not of the server's own services: health, reflection, what does not exist."""
        if method == _CHECK:
            return self.check
        return self._watch if method.startswith(f"/{health.SERVICE_NAME}/") else self._rest
