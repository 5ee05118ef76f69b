"""How much is kept: so many a second, the others are counted and forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable


class Sampling:
    """A bucket of tokens that fills at a rate and holds a second's worth. One event loop."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            rate: a second, above 0.
            clock: seconds.
        """
        self._rate = rate
        self._most = max(rate, 1.0)
        self._tokens = self._most
        self._clock = clock
        self._at = clock()

    def take(self) -> bool:
        """Whether there is room for one more."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """What was taken is not needed."""
        self._tokens = min(self._most, self._tokens + 1)
