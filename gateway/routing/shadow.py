"""Shadow traffic: copies of images for a variant that is to be tried out; nobody waits for them or sees the answers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from gateway.routing.copied import Answered, Original
from gateway.routing.variant import Variant
from serving.errors import ServiceError
from serving.rpc import context as request_context
from serving.rpc.context import RequestContext
from serving.telemetry import metrics

Compared = Callable[[Original, Answered], None]
"""Told of each copy that was answered."""


class Room(Protocol):
    """The bounds on what is in flight, which copies share with the images of callers."""

    def spare(self, size: int, drop: Callable[[], None]) -> Callable[[], None] | None:
        """Room for one image of `size` bytes that may be taken back by calling `drop`; None where there is none.

        Returns:
            What gives it back, to be called once; `drop` included.
        """
        ...


class Shadow:
    """Sends copies, a bounded number at a time; what is more is dropped and counted. One event loop."""

    def __init__(self, concurrency: int, timeout: float, room: Room, compared: Compared) -> None:
        """
        Args:
            concurrency: copies under way at once.
            timeout: seconds for one, whatever time the caller of the original has.
            room: copies are the first to go where it becomes scarce.
            compared: see Compared.
        """
        self._concurrency = concurrency
        self._timeout = timeout
        self._room = room
        self._compared = compared
        self._running: set[asyncio.Task[None]] = set()

    def send(self, variant: Variant, original: Original) -> None:
        """Returns at once."""
        task: asyncio.Task[None] | None = None

        def drop() -> None:
            if task is not None and task.cancel():
                metrics.SHADOWS.labels(variant.name, "dropped").inc()

        full = len(self._running) >= self._concurrency
        give_back = None if full else self._room.spare(len(original.image), drop)
        if give_back is None:
            metrics.SHADOWS.labels(variant.name, "dropped").inc()
            return

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            give_back()

        task = asyncio.create_task(self._ask(variant, original))
        self._running.add(task)
        task.add_done_callback(ended)

    async def stop(self) -> None:
        """Cancels what is under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, variant: Variant, original: Original) -> None:
        started = time.monotonic()
        request_context.current.set(RequestContext(secrets.token_hex(16), started + self._timeout))
        try:
            answer = await variant.recognize(original.image, original.options, patience=0)
        except ServiceError:
            metrics.SHADOWS.labels(variant.name, "error").inc()
        else:
            metrics.SHADOWS.labels(variant.name, "ok").inc()
            seconds = time.monotonic() - started
            metrics.SHADOW_SECONDS.labels(variant.name).observe(seconds)
            self._compared(original, Answered(variant.name, answer, seconds))
