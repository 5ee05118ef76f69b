"""A circuit breaker: what has failed repeatedly is left alone for a while, then tried once (Nygard, Release It!)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Closed: all may pass. Open: one attempt every `retry_interval`, which decides. One event loop."""

    def __init__(self, failures: int, retry_interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            failures: in a row, that open it.
            retry_interval: seconds between attempts while open.
            clock: monotonic seconds.
        """
        self._limit = failures
        self._interval = retry_interval
        self._clock = clock
        self._failures = 0
        self._retry_at: float | None = None

    @property
    def closed(self) -> bool:
        return self._retry_at is None

    def allow(self) -> bool:
        """Whether to try now. An attempt allowed while open counts whether or not its outcome is reported."""
        if self._retry_at is None:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._interval
        return True

    def success(self) -> bool:
        """Reports that an attempt succeeded. True when this closed the breaker."""
        self._failures = 0
        closed_now, self._retry_at = self._retry_at is not None, None
        return closed_now

    def failure(self, at_once: bool = False) -> bool:
        """Reports that an attempt failed. True when this opened the breaker.

        Args:
            at_once: open it without waiting for further failures.
        """
        self._failures += 1
        if self._retry_at is not None or (self._failures < self._limit and not at_once):
            return False
        self._retry_at = self._clock() + self._interval
        return True
