"""Whether a call may be worked on now: one question for all who serve calls, and one answer, a permit."""

from __future__ import annotations

from collections.abc import Callable

from gateway.admission.in_flight import InFlight
from gateway.admission.permit import Call, Outcome, Permit
from gateway.settings import GatewaySettings


class Admission:
    """Asks everything that bounds the gateway's work. One event loop."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._in_flight = InFlight(settings.max_concurrency, settings.max_in_flight_bytes)

    @property
    def images(self) -> int:
        """Worked on at present."""
        return self._in_flight.images

    @property
    def busy(self) -> bool:
        """Whether an image is worked on that somebody waits for."""
        return self._in_flight.calls > 0

    def admit(self, call: Call) -> Permit:
        """Permission to work on `call`, to be used as a context at once.

        Raises:
            OverloadedError: no room; it says when to come back.
        """
        self._in_flight.take(call)
        return Permit(call, self._ended)

    def spare(self, size: int, drop: Callable[[], None]) -> Callable[[], None] | None:
        """Room for a copy of an image that nobody waits for: `gateway.routing.shadow.Room`."""
        return self._in_flight.spare(size, drop)

    def _ended(self, call: Call, outcome: Outcome) -> None:
        self._in_flight.give_back(call, outcome)
