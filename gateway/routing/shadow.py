"""Shadow traffic: copies of images for a variant that is to be tried out; nobody waits for them or sees the answers."""

from __future__ import annotations

import asyncio
import secrets
import time

from ferry.v1 import ensembler_pb2
from gateway.routing.variant import Variant
from serving.errors import ServiceError
from serving.rpc import context as request_context
from serving.rpc.context import RequestContext
from serving.telemetry import metrics


class Shadow:
    """Sends copies, a bounded number at a time; what is more is dropped and counted. One event loop."""

    def __init__(self, concurrency: int, timeout: float) -> None:
        """
        Args:
            concurrency: copies under way at once.
            timeout: seconds for one, whatever time the caller of the original has.
        """
        self._concurrency = concurrency
        self._timeout = timeout
        self._running: set[asyncio.Task[None]] = set()

    def send(self, variant: Variant, image: bytes, options: ensembler_pb2.RecognizeOptions) -> None:
        """Returns at once."""
        if len(self._running) >= self._concurrency:
            metrics.SHADOWS.labels(variant.name, "dropped").inc()
            return
        task = asyncio.create_task(self._ask(variant, image, options))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Cancels what is under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, variant: Variant, image: bytes, options: ensembler_pb2.RecognizeOptions) -> None:
        started = time.monotonic()
        request_context.current.set(RequestContext(secrets.token_hex(16), started + self._timeout))
        try:
            await variant.recognize(image, options, patience=0)
        except ServiceError:
            metrics.SHADOWS.labels(variant.name, "error").inc()
        else:
            metrics.SHADOWS.labels(variant.name, "ok").inc()
            metrics.SHADOW_SECONDS.labels(variant.name).observe(time.monotonic() - started)
