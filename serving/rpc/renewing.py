"""A channel whose certificates are renewed while it is used: gRPC reads a channel's certificates once and for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from ferry.tls import Tls, TlsError
from serving.watched_file import WatchedFile

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
        self._connect = connect
        self._credentials = WatchedFile(
            "certificates",
            tls.channel_credentials,
            tls.signature,
            errors=(TlsError, OSError),
            least_seconds=_LOOK_SECONDS,
        )
        self._channel = connect(self._credentials.value)
        self._generation = 0
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

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As grpc.aio.Channel.get_state. Looks at the files too: nobody calls while no replica takes expired ones."""
        self._renew()
        return self._channel.get_state(try_to_connect)

    async def close(self, grace: float | None = None) -> None:
        """As grpc.aio.Channel.close."""
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self._channel.close(grace)

    def _renew(self) -> None:
        if not self._credentials.look():
            return
        old, self._channel = self._channel, self._connect(self._credentials.value)
        self._generation += 1
        task = asyncio.get_running_loop().create_task(old.close(_DRAIN_SECONDS))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
