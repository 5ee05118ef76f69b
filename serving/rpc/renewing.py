"""A channel whose certificates are renewed while it is used: gRPC reads a channel's certificates once and for all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc

from ferry.tls import Tls, TlsError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Least time between two looks at the files."""
_DRAIN_SECONDS = 300.0
"""How long calls on the old certificates may go on."""


class RenewingChannel:
    """What a stub needs of a grpc.aio.Channel. A call that finds renewed files opens a new channel; calls in flight
    finish on the old one. Files that do not fit change nothing: the old certificates serve until they expire."""

    def __init__(self, tls: Tls, connect: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]) -> None:
        """
        Args:
            tls: the files.
            connect: opens a channel.

        Raises:
            TlsError: the files do not fit.
        """
        self._tls = tls
        self._connect = connect
        self._seen = tls.signature()
        self._channel = connect(tls.channel_credentials())
        self._generation = 0
        self._looked_at = time.monotonic()
        self._retired: set[asyncio.Task[None]] = set()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As grpc.aio.Channel.unary_unary."""
        generation, method = self._generation, self._channel.unary_unary(*arguments, **options)

        def call(request: Any, **how: Any) -> Any:
            nonlocal generation, method
            self._renew()
            if generation != self._generation:
                generation, method = self._generation, self._channel.unary_unary(*arguments, **options)
            return method(request, **how)

        return call

    async def close(self, grace: float | None = None) -> None:
        """As grpc.aio.Channel.close."""
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self._channel.close(grace)

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            signature = self._tls.signature()
            if signature == self._seen:
                return
            credentials = self._tls.channel_credentials()
        except (TlsError, OSError) as error:
            log.warning("certificates are not renewed: %s", error)
            return
        self._seen = signature
        old, self._channel = self._channel, self._connect(credentials)
        self._generation += 1
        task = asyncio.get_running_loop().create_task(old.close(_DRAIN_SECONDS))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
        log.info("certificates renewed")
