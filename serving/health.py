"""What a process says of itself (grpc.health.v1), so that a probe that has time hears once that it has started.

A service that loads is NOT_SERVING. A check that is refused again and again until it serves is a warning in Kubernetes'
events each time, although nothing is wrong; so one whose caller can wait is answered when the start is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from grpc_health.v1 import health, health_pb2

PATIENT_SECONDS = 5.5
"""A check with more time than this waits for the end of the start; longer than readiness and liveness probes take."""
_MARGIN_SECONDS = 0.5
"""For the answer's way back."""


class Health(health.aio.HealthServicer):
    """Health by name, as the package serves it; patient while the process starts, and with watches that do not wait for
    each other: the package's own writes under a lock, so that one caller who reads nothing stops all that is said."""

    def __init__(self) -> None:
        super().__init__()
        self._started = asyncio.Event()
        self._changed = asyncio.Event()
        """Set with the next change; then there is another one."""

    def started(self) -> None:
        """The start is over: checks are answered at once from now on."""
        self._started.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:  # noqa: N802
        """The status at present or, while the process starts, when that is over or the caller's time nearly is."""
        left = context.time_remaining()
        if not self._started.is_set() and left is not None and left > PATIENT_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._started.wait(), left - _MARGIN_SECONDS)
        return await super().Check(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802
        """The status at present, and each that it becomes, as far as the caller takes them in."""
        said = None
        while True:
            changed = self._changed
            status = self._server_status.get(  # type: ignore[attr-defined]
                request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            )
            if status != said:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                said = status
            await changed.wait()

    async def _set(self, service: str, status: Any) -> None:
        await super()._set(service, status)  # type: ignore[misc]
        self._changed.set()
        self._changed = asyncio.Event()
