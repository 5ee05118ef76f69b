"""Messages on their way in: how many at once, and how long each may take.

A message lies in memory from its first byte on, and nothing tells its size before it is complete, so each that is
awaited counts as the largest that is allowed. gRPC asks the peer for a message only when somebody reads it; until then
it takes no more than the first window of a stream (64 KiB).
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, TypeAlias

import grpc

from serving.errors import DeadlineError, OverloadedError
from serving.telemetry import metrics

# A string: the class is generic in its stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

MAX_WAITING = 128
"""Calls that may wait for a place, with up to 64 KiB each that gRPC has received already."""
PATIENCE_SECONDS = 5.0
"""After which a message that is not complete gives up its place, where others wait for one."""
_RETRY_SECONDS = 1.0


class Receiving:
    """Places for messages that are being received. One event loop."""

    def __init__(self, places: int, timeout: float, patience: float | None = None) -> None:
        """
        Args:
            places: messages received at once, 1 or more.
            timeout: seconds for a message, from the moment it is awaited, the wait for a place included.
            patience: seconds a message has for itself; then it gives way to those that wait. None: the default.
        """
        self._free = places
        self._timeout = timeout
        self._patience = min(PATIENCE_SECONDS if patience is None else patience, timeout)
        self._reading: OrderedDict[asyncio.Future[None], float] = OrderedDict()
        """Ends of the messages under way and since when each is, the oldest first."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clearing: asyncio.TimerHandle | None = None
        self._refused = metrics.REJECTED.labels("receiving")

    async def read(self, context: Context) -> Any:
        """The next message of a call; `grpc.aio.EOF` where the caller has ended its side.

        Raises:
            DeadlineError: it was not complete in time.
            OverloadedError: too many others are being received.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        await self._take(loop, end)
        # The read is never cancelled: gRPC would lose what it holds for it. It ends with the call.
        reading = loop.create_task(context.read())
        ended: asyncio.Future[None] = loop.create_future()
        reading.add_done_callback(partial(_end, ended))
        timer = loop.call_at(end, _fail, ended, DeadlineError(f"no complete message within {self._timeout:g} s"))
        self._reading[ended] = loop.time()
        try:
            await ended
        finally:
            timer.cancel()
            del self._reading[ended], ended  # an error's traceback holds this frame, and the future the error
            self._give_back()
        return reading.result()

    async def messages(self, context: Context) -> AsyncIterator[Any]:
        """Every message of a call; raises as `read`."""
        while (message := await self.read(context)) is not grpc.aio.EOF:
            yield message

    async def _take(self, loop: asyncio.AbstractEventLoop, end: float) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= MAX_WAITING:
            raise self._overloaded()
        place: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(end, self._refuse, place)
        self._waiting.append(place)
        self._clear_later()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._give_back()
            raise
        finally:
            timer.cancel()
            del place  # as above

    def _give_back(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._clear_later()
                return
        self._free += 1

    def _clear_later(self) -> None:
        if self._clearing is None and self._reading:
            oldest = next(iter(self._reading.values()))
            self._clearing = asyncio.get_running_loop().call_at(oldest + self._patience, self._clear)

    def _clear(self) -> None:
        """Ends the oldest messages that have had their time, one for each call that waits."""
        self._clearing = None
        waiting = sum(not place.done() for place in self._waiting)
        now = asyncio.get_running_loop().time()
        for ended, since in list(self._reading.items())[:waiting]:
            if now - since < self._patience:
                break
            self._refuse(ended)
        if waiting:
            loop = asyncio.get_running_loop()
            # Those just ended are gone by the next turn; the rest is looked at when its time comes.
            self._clearing = loop.call_later(self._patience / 8, self._clear)

    def _refuse(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_exception(self._overloaded())

    def _overloaded(self) -> OverloadedError:
        self._refused.inc()
        return OverloadedError(
            "too many messages are being received; try again shortly", _RETRY_SECONDS * random.uniform(0.5, 1.5)
        )


def _end(ended: asyncio.Future[None], task: asyncio.Task[Any]) -> None:
    # Taken here: nobody else looks at the outcome of a read whose call is over.
    if not task.cancelled():
        task.exception()
    if not ended.done():
        ended.set_result(None)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
