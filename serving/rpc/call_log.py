"""A line in the log for each call that failed, and for a share of all calls on request; never so many that they are the
load."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final

import grpc

log = logging.getLogger(__name__)

MOST_FAILURES: Final = 50
"""Lines for failed calls in a second; the others are counted, and the count is logged."""
_OK: Final = grpc.StatusCode.OK


class CallLog:
    """One event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = 0.0
        self._clock = clock
        self._second = -1
        self._lines = 0
        self._left_out = 0

    def ended(self, method: str, status: grpc.StatusCode, seconds: float, field: str = "") -> None:
        """Says how a call ended, where that is to be said.

        Args:
            method: such as `/ferry.v1.Detector/Detect`.
            status: it ended with.
            seconds: that it took.
            field: of the request, that was wrong.
        """
        if status is _OK:
            if self.share and random.random() < self.share:
                log.info("call", extra=_extra(method, status, seconds, field))
            return
        second = int(self._clock())
        if second != self._second:
            if self._left_out:
                log.info("%d more failed calls are not in the log", self._left_out)
            self._second, self._lines, self._left_out = second, 0, 0
        if self._lines < MOST_FAILURES:
            self._lines += 1
            log.info("call failed", extra=_extra(method, status, seconds, field))
        else:
            self._left_out += 1


def _extra(method: str, status: grpc.StatusCode, seconds: float, field: str) -> dict[str, object]:
    known: dict[str, object] = {"method": method, "status": status.name, "milliseconds": round(seconds * 1000, 1)}
    return {**known, "field": field} if field else known


calls = CallLog()
"""Of this process."""
