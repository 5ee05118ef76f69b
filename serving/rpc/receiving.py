"""Messages on their way in: how many at once, and how long each may take.

A message lies in memory from its first byte on, and nothing tells its size before it is complete, so each that is
awaited counts as the largest that is allowed. gRPC asks the peer for a message only when somebody reads it; until then
it takes no more than the first window of a stream (64 KiB).
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc

from serving.errors import DeadlineError, OverloadedError
from serving.rpc.in_process import InProcessContext
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
        self._reading: OrderedDict[asyncio.Future[None], _Times] = OrderedDict()
        """Ends of the messages under way, the oldest first."""
        self._expiring: asyncio.TimerHandle | None = None
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
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_place(loop, end)
        read = context.read()
        if isinstance(cast(object, context), InProcessContext):
            # A door's read may ask which task it is in, to bound its own time.
            read = _awaited(loop.create_task(read))
        ended: asyncio.Future[None] = loop.create_future()
        reading = _Read(read, loop, ended)
        del read
        self._reading[ended] = _Times(loop.time(), end)
        if self._expiring is None:
            self._expiring = loop.call_at(end, self._expire)
        try:
            await ended
        except BaseException:
            reading.forget()
            raise
        finally:
            del self._reading[ended], ended  # as above
            self._give_back()
        return reading.result()

    async def messages(self, context: Context) -> AsyncIterator[Any]:
        """Every message of a call; raises as `read`."""
        while (message := await self.read(context)) is not grpc.aio.EOF:
            yield message

    async def _wait_for_place(self, loop: asyncio.AbstractEventLoop, end: float) -> None:
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
            del place  # as in `read`

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
            self._clearing = asyncio.get_running_loop().call_at(oldest.since + self._patience, self._clear)

    def _clear(self) -> None:
        """Ends the oldest messages that have had their time, one for each call that waits."""
        self._clearing = None
        waiting = sum(not place.done() for place in self._waiting)
        now = asyncio.get_running_loop().time()
        for ended, times in list(self._reading.items())[:waiting]:
            if now - times.since < self._patience:
                break
            self._refuse(ended)
        if waiting:
            loop = asyncio.get_running_loop()
            # Those just ended are gone by the next turn; the rest is looked at when its time comes.
            self._clearing = loop.call_later(self._patience / 8, self._clear)

    def _expire(self) -> None:
        """Ends the messages whose time is up. One timer serves all: most messages are here long before."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for ended, times in self._reading.items():
            if times.end <= now and not ended.done():
                ended.set_exception(DeadlineError(f"no complete message within {self._timeout:g} s"))
        ends = [times.end for ended, times in self._reading.items() if not ended.done()]
        self._expiring = loop.call_at(min(ends), self._expire) if ends else None

    def _refuse(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_exception(self._overloaded())

    def _overloaded(self) -> OverloadedError:
        self._refused.inc()
        return OverloadedError(
            "too many messages are being received; try again shortly", _RETRY_SECONDS * random.uniform(0.5, 1.5)
        )


async def _awaited(task: asyncio.Task[Any]) -> Any:
    return await task


@dataclass(frozen=True, slots=True)
class _Times:
    """Of a message under way, by the loop's clock: when its read began, and when it ends at the latest."""

    since: float
    end: float


class _Read:
    """One read of a call, which is never cancelled: gRPC would lose what it holds for it. It ends with the call.

    Driven here, one step for each future that it awaits, and not by a task: that took two turns of the loop more, for
    each of all messages.

    Attributes:
        ended: done when the read is, unless somebody ends it before; None: nobody waits for it any more.
    """

    __slots__ = ("_error", "_loop", "_message", "_read", "ended")

    def __init__(
        self, read: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]
    ) -> None:
        self.ended: asyncio.Future[None] | None = ended
        self._read, self._loop = read, loop
        self._message: Any = None
        self._error: BaseException | None = None
        self._step()

    def result(self) -> Any:
        """What was read, or raises what the read raised."""
        if self._error is not None:
            # Given away: the frames that an error goes through must not be held by it.
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error
        return self._message

    def forget(self) -> None:
        """Nobody waits for it any more. The traceback of an error holds this read, and the future the error."""
        self.ended = self._error = None

    def _step(self, _: object = None) -> None:
        try:
            awaited = self._read.send(None)
        except StopIteration as end:
            self._message = end.value
        except BaseException as error:
            if self.ended is not None:
                self._error = error
        else:
            if awaited is None:  # it only lets others go first
                self._loop.call_soon(self._step)
                return
            # As a task does, to say that it has understood (asyncio.isfuture).
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self._step)
            return
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
