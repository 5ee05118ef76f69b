"""Whether a gateway can answer at all, slow to say no: its health follows it, and with that who is sent to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from serving.telemetry import metrics

log = logging.getLogger(__name__)


class Ability:
    """Able at first, unable after a while without a look that found it able, and able again with the first that does.

    Attributes:
        able: as of the last look.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            patience: seconds.
            clock: seconds.
        """
        self.able = True
        self._patience = patience
        self._clock = clock
        self._seen_at = clock()
        metrics.GATEWAY_ABLE.set(1)

    def look(self, able: bool) -> bool:
        """Takes what a look has found; whether `self.able` has changed by it."""
        now = self._clock()
        if able:
            self._seen_at = now
        changed = self.able != (now - self._seen_at < self._patience)
        if changed:
            self.able = not self.able
            metrics.GATEWAY_ABLE.set(self.able)
            if self.able:
                log.info("a variant can answer again")
            else:
                log.error("no variant could answer for %g s: not ready until one can", self._patience)
        return changed
