"""Whether a channel has a replica that takes calls, and for how long it has had none."""

from __future__ import annotations

import asyncio
import time

import grpc

_LOOK_SECONDS = 0.02
_CONNECT_SECONDS = 1.0
"""How long a call that would not wait for a replica still waits for a connection that nobody has tried yet."""
_UNTRIED = frozenset({grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING})


class Readiness:
    """Patience belongs to the outage, not to the call: when the last replica has been away for longer, nobody waits any
    more, so that an outage does not fill a service with calls that wait. One event loop."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._state = grpc.ChannelConnectivity.IDLE
        self._lost_at = 0.0
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def wait(self, patience: float, end: float) -> bool:
        """Waits for a replica that takes calls; False where there is none.

        Args:
            patience: seconds that there may have been none.
            end: when to give up at the latest, time.monotonic() seconds.
        """
        while True:
            self._look()
            if self._state is grpc.ChannelConnectivity.READY:
                return True
            allowed = max(patience, _CONNECT_SECONDS) if self._state in _UNTRIED else patience
            seconds = min(self._lost_at + allowed, end) - time.monotonic()
            if seconds <= 0:
                return False
            changed = self._changed
            try:
                async with asyncio.timeout(seconds):
                    await changed.wait()
            except TimeoutError:
                return False

    @property
    def away(self) -> bool:
        """Whether a call found no replica, there has been none since, and it is not just being connected to."""
        if self._watching is None or self._watching.done():
            return False
        return self._state not in _UNTRIED or time.monotonic() > self._lost_at + _CONNECT_SECONDS

    def close(self) -> None:
        """To be called before the channel is closed."""
        if self._watching is not None:
            self._watching.cancel()

    def _look(self) -> None:
        state = self._channel.get_state(try_to_connect=True)
        if state is not self._state:
            self._state = state
            self._changed.set()
            self._changed = asyncio.Event()
        if state is not grpc.ChannelConnectivity.READY and (self._watching is None or self._watching.done()):
            self._lost_at = time.monotonic()
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Until there is a replica again. Looks, because gRPC keeps every wait for a change until there is one."""
        while self._state is not grpc.ChannelConnectivity.READY:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look()
