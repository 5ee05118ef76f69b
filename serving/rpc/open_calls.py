"""How many calls are open at once: from their metadata until gRPC has sent the last of the answer."""

from __future__ import annotations

import asyncio

from serving.errors import OverloadedError
from serving.telemetry import metrics

_RETRY_SECONDS = 1.0


class OpenCalls:
    """Counts the calls of some methods. One event loop."""

    def __init__(self, most: int) -> None:
        """
        Args:
            most: open at once.
        """
        self._most = most
        self._open = 0
        self._refused = metrics.REJECTED.labels("calls")

    def enter(self, task: asyncio.Task[object] | None) -> None:
        """Counts the call that `task` serves until the task ends; gRPC's own writes its answer to the end.

        Raises:
            OverloadedError: too many are open.
        """
        if task is None:
            return
        if self._open >= self._most:
            self._refused.inc()
            raise OverloadedError("too many calls are open; try again shortly", _RETRY_SECONDS)
        self._open += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._open -= 1
