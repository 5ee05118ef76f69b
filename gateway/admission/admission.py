"""Whether a call may be worked on now: one question for all who serve calls, and one answer, a permit."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import grpc

from gateway.admission.in_flight import InFlight
from gateway.admission.permit import Call, Outcome, Permit
from gateway.settings import GatewaySettings
from serving.rpc.context import current

_HARDLY_ANY = 100
"""Images one after the other of which none was kept in memory. Of a hundred that are received to look whether they are,
one then spares models less work than receiving the others costs."""
_NEARLY = 0.9
"""Of the time that a caller had, after which it has not left by its own will."""


class Admission:
    """Asks everything that bounds the gateway's work. One event loop."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._in_flight = InFlight(settings.max_concurrency, settings.max_in_flight_bytes)
        self._unkept = 0

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
            OverloadedError: no room, or too much before it for the time that its caller has; it says when to come back.
        """
        seconds = _seconds()
        return Permit(call, partial(self._ended, self._in_flight.take(call, seconds), seconds))

    def foresee(self) -> None:
        """Refuses a call with one image before that is received, where it would be refused with it: there is no room,
        and hardly any answer is kept in memory, which needs none.

        Raises:
            OverloadedError: as `admit`.
        """
        if self._unkept >= _HARDLY_ANY:
            self._in_flight.check(Call(1, 0), _seconds())

    def looked(self, kept: bool) -> None:
        """The image of a call that `foresee` is asked about was looked for in memory; `kept`: its answer lay there, and
        needs no permission."""
        self._unkept = 0 if kept else self._unkept + 1

    def disturb(self) -> None:
        """Something that calls need is away: how long they take says nothing of how many there are."""
        self._in_flight.disturb()

    def spare(self, size: int, drop: Callable[[], None]) -> Callable[[], None] | None:
        """Room for a copy of an image that nobody waits for: `gateway.routing.shadow.Room`."""
        return self._in_flight.spare(size, drop)

    def _ended(self, under_way: int, seconds: float, call: Call, outcome: Outcome) -> None:
        # A caller whose time is up and one that leaves look alike; the one is up to us, and the other is not.
        if outcome.code is grpc.StatusCode.CANCELLED and outcome.seconds > _NEARLY * seconds:
            outcome = Outcome(grpc.StatusCode.DEADLINE_EXCEEDED, outcome.seconds)
        self._in_flight.give_back(call, under_way, outcome)


def _seconds() -> float:
    """That the caller of the call at hand waits."""
    context = current.get()
    return math.inf if context is None else context.remaining()
