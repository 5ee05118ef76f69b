"""How much the gateway works on at once; what is more is refused at once, not queued."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import grpc

from gateway.admission.pace import Pace
from gateway.admission.permit import Call, Outcome
from serving.errors import OverloadedError
from serving.telemetry import metrics

_FIRST_RETRY_SECONDS = 0.5
"""Until a call has been answered."""
_LEAST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0
_NEWS = 0.05
"""Weight of the newest call in the mean of their times."""


class InFlight:
    """Counts images and their bytes over all calls. One event loop.

    Attributes:
        images: worked on at present.
    """

    def __init__(self, max_images: int, max_bytes: int) -> None:
        self.images = 0
        self._bytes = 0
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._mean_seconds: float | None = None
        self._keys = itertools.count()
        self._held: set[int] = set()
        self._spare: dict[int, Callable[[], None]] = {}
        self._pace = Pace()
        self._refused, self._late = (metrics.REJECTED.labels(reason) for reason in ("overload", "late"))

    def take(self, call: Call, seconds: float = math.inf) -> int:
        """Holds room for `call`. A call alone is never refused, whatever its size.

        Args:
            call: what is asked for.
            seconds: that its caller waits.

        Returns:
            Images under way that somebody waits for, its own included.

        Raises:
            OverloadedError: no room, or no time.
        """
        while self._full(call) and self._spare:
            self._spare.popitem()[1]()
        self.check(call, seconds)
        self.images += call.images
        self._bytes += call.size
        return self.calls

    def check(self, call: Call, seconds: float) -> None:
        """Raises as `take`, and holds and drops nothing."""
        if self._full(call) and self.images and not self._spare:
            self._refused.inc()
            raise OverloadedError("too many images in flight; try again shortly", self._retry_after())
        excess = self._pace.excess(self.calls + call.images, seconds)
        if excess > 0:
            self._late.inc()
            wait = min(max(excess, _LEAST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS) * random.uniform(0.5, 1.5)
            raise OverloadedError("too many images in flight to answer in time; try again shortly", wait)

    def spare(self, size: int, drop: Callable[[], None]) -> Callable[[], None] | None:
        """Holds room for an image that nobody waits for, as long as no call needs it: `gateway.routing.shadow.Room`."""
        call = Call(1, size)
        if self._full(call):
            return None
        key = next(self._keys)

        def free() -> None:
            if key in self._held:
                self._held.discard(key)
                self._spare.pop(key, None)
                self.images -= 1
                self._bytes -= size

        def take_back() -> None:
            free()
            drop()

        self._held.add(key)
        self._spare[key] = take_back
        self.images += 1
        self._bytes += size
        return free

    def disturb(self) -> None:
        """See `Pace.disturb`."""
        self._pace.disturb()

    def _full(self, call: Call) -> bool:
        return self.images + call.images > self._max_images or self._bytes + call.size > self._max_bytes

    @property
    def calls(self) -> int:
        """Images worked on that somebody waits for."""
        return self.images - len(self._held)

    def give_back(self, call: Call, under_way: int, outcome: Outcome) -> None:
        """Frees the room of a call that was taken, and learns how long its answer took, if models were asked for it.

        Args:
            call: as it was taken.
            under_way: what `take` returned.
            outcome: what became of it.
        """
        self.images -= call.images
        self._bytes -= call.size
        if outcome.found:
            return
        # A batch holds its room for many images, one after the other.
        if call.images == 1 and outcome.code in {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}:
            self._pace.learn(under_way, outcome.seconds, answered=outcome.code is grpc.StatusCode.OK)
        if outcome.code is grpc.StatusCode.OK:
            mean = self._mean_seconds
            self._mean_seconds = outcome.seconds if mean is None else mean + _NEWS * (outcome.seconds - mean)

    def _retry_after(self) -> float:
        """Seconds: about what a call takes, spread, so that those who were refused do not come back together."""
        mean = _FIRST_RETRY_SECONDS if self._mean_seconds is None else self._mean_seconds
        return min(max(mean, _LEAST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS) * random.uniform(0.5, 1.5)
