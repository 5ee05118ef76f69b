"""A channel that can be opened anew while it is used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

_DRAIN_SECONDS = 300.0
"""How long calls on the old connections may go on."""


class FreshChannel:
    """What a stub needs of a grpc.aio.Channel. Opened anew, it asks every replica's health again, so that one that
    hangs with its connections alive, which never withdraws that it is well, gets no more calls until it answers; calls
    in flight finish on the old connections. Belongs to the event loop that makes it."""

    def __init__(self, connect: Callable[[], grpc.aio.Channel]) -> None:
        """
        Args:
            connect: opens a channel; it may raise what it likes, here and in `reopen`.
        """
        self._connect = connect
        self._look: Callable[[], None] | None = None
        """Before anything is asked of the channel: whether it has to be opened anew."""
        self._channel = connect()
        self._opened = time.monotonic()
        self._generation = 0
        self._retired: set[asyncio.Task[None]] = set()

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As grpc.aio.Channel.unary_unary."""
        generation, method = self._generation, self._channel.unary_unary(*arguments, **options)

        def call(request: Any, **how: Any) -> Any:
            nonlocal generation, method
            if self._look is not None:
                self._look()
            if generation != self._generation:
                generation, method = self._generation, self._channel.unary_unary(*arguments, **options)
            return method(request, **how)

        return call

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As grpc.aio.Channel.get_state."""
        if self._look is not None:
            self._look()
        return self._channel.get_state(try_to_connect)

    async def close(self, grace: float | None = None) -> None:
        """As grpc.aio.Channel.close."""
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self._channel.close(grace)

    def reopen(self, since: float) -> bool:
        """Opens it anew, unless that was done after `since` (time.monotonic() seconds); whether it was done now."""
        if self._opened > since:
            return False
        self._reopen()
        return True

    def _reopen(self) -> None:
        old, self._channel = self._channel, self._connect()
        self._opened = time.monotonic()
        self._generation += 1
        task = asyncio.get_running_loop().create_task(old.close(_DRAIN_SECONDS))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
