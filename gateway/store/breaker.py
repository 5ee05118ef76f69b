"""A circuit breaker: what has failed repeatedly is left alone until it is known to be well (Nygard, Release It!)."""

from __future__ import annotations


class Breaker:
    """Closed: all may pass. Open: nobody may, until a success is reported. One event loop."""

    def __init__(self, failures: int) -> None:
        """
        Args:
            failures: in a row, that open it.
        """
        self._limit = failures
        self._failures = 0
        self._closed = True

    @property
    def closed(self) -> bool:
        """Whether to pass."""
        return self._closed

    def success(self) -> bool:
        """Reports that an attempt succeeded. True when this closed the breaker."""
        closed_now, self._closed = not self._closed, True
        self._failures = 0
        return closed_now

    def failure(self, at_once: bool = False) -> bool:
        """Reports that an attempt failed. True when this opened the breaker.

        Args:
            at_once: open it without waiting for further failures.
        """
        self._failures += 1
        if not self._closed or (self._failures < self._limit and not at_once):
            return False
        self._closed = False
        return True
