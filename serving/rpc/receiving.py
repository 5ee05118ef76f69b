"""Messages on their way in: how many at once, and how long each may take.

A message lies in memory from its first byte on, and nothing tells its size before it is complete, so each that is
awaited counts as the largest that is allowed. gRPC asks the peer for a message only when somebody reads it; until then
it takes no more than the first window of a stream (64 KiB).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeAlias, cast

import grpc

from serving.errors import DeadlineError, InvalidArgumentError, OverloadedError
from serving.rpc.context import current
from serving.rpc.in_process import InProcessContext
from serving.rpc.senders import Faults, Message
from serving.telemetry import metrics

# A string: the class is generic in its stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

MAX_WAITING = 128
"""Calls that may wait for a place, with up to 64 KiB each that gRPC has received already."""
GRACE_SECONDS = 1.0
"""After which the first message of a call gives up its place, where others wait for one."""
PATIENCE_SECONDS = 5.0
"""The same for later messages, before which a caller may wait for answers."""
_RETRY_SECONDS = 1.0


class Receiving:
    """Places for messages that are being received. One event loop.

    Where all are taken, who holds one for too long gives way to who waits. Places go first to those that made nobody
    wait lately and hold the fewest, so that a few callers whose messages do not come shut nobody out.
    """

    def __init__(self, places: int, timeout: float, patience: float | None = None) -> None:
        """
        Args:
            places: messages received at once, 1 or more.
            timeout: seconds for a message, from the moment it is awaited, the wait for a place included.
            patience: seconds a message has for itself; then it gives way to those that wait. None: the defaults.
        """
        self._free = places
        self._timeout = timeout
        self._patience = min(PATIENCE_SECONDS if patience is None else patience, timeout)
        self._grace = min(GRACE_SECONDS, self._patience)
        self._reading: dict[asyncio.Future[None], Message] = {}
        """Ends of the messages under way, the oldest first."""
        self._expiring: asyncio.TimerHandle | None = None
        self._waiting: dict[asyncio.Future[None], Message] = {}
        """Places to come, the oldest first."""
        self._clearing: asyncio.TimerHandle | None = None
        self._faults = Faults()
        self._refused, self._slow = (metrics.REJECTED.labels(reason) for reason in ("receiving", "slow"))

    async def read(self, context: Context, *, first: bool = True) -> Any:
        """The next message of a call; `grpc.aio.EOF` where the caller has ended its side.

        Args:
            context: of the call.
            first: whether none has been read of it before.

        Raises:
            InvalidArgumentError: what came is no message.
            DeadlineError: it was not complete in time.
            OverloadedError: too many others are being received, or wait while this one does not come.
        """
        loop = asyncio.get_running_loop()
        message = _message(context, loop.time(), self._timeout, first=first)
        if self._free:
            self._free -= 1
        else:
            await self._wait_for_place(loop, message)
        read = context.read()
        if isinstance(cast(object, context), InProcessContext):
            # A door's read may ask which task it is in, to bound its own time.
            read = _awaited(loop.create_task(read))
        ended: asyncio.Future[None] = loop.create_future()
        reading = _Read(read, loop, ended)
        del read
        message.since = loop.time()
        self._reading[ended] = message
        if self._expiring is None or message.end < self._expiring.when():
            # Sooner than those that have come before it, where it has waited for its place for longer.
            self._look_at(message.end)
        try:
            await ended
        except BaseException:
            reading.forget()
            raise
        finally:
            del self._reading[ended], ended  # as above
            self._give_back()
        self._faults.make_up(message)
        return reading.result()

    async def messages(self, context: Context) -> AsyncIterator[Any]:
        """Every message of a call; raises as `read`."""
        first = True
        while (message := await self.read(context, first=first)) is not grpc.aio.EOF:
            first = False
            yield message

    async def _wait_for_place(self, loop: asyncio.AbstractEventLoop, message: Message) -> None:
        place: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(message.end, self._refuse, place)
        self._waiting[place] = message
        if len(self._waiting) > MAX_WAITING:
            self._make_room()
        self._clear_later()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._give_back()
            raise
        finally:
            timer.cancel()
            self._waiting.pop(place, None)
            del place  # as in `read`

    def _make_room(self) -> None:
        """Refuses those that wait for senders who have left, or else the one that is worth the least."""
        left = [place for place, message in self._waiting.items() if message.gone is not None and message.gone()]
        if not left:
            # Of equals the one that has waited the longest: it has the least of its time left.
            worth = self._worth()
            left = [max(self._waiting, key=lambda one: (*worth(one), -self._waiting[one].since))]
        for place in left:
            self._refuse(place)

    def _give_back(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        worth, waiting = self._worth(), self._waiting
        # Where places are held for long, those that came first are many and slow, and those that come now get nothing.
        oldest = next(iter(waiting.values())).since
        stuck = asyncio.get_running_loop().time() - oldest > self._grace / 4
        sign = -1 if stuck else 1
        place = min(waiting, key=lambda one: (*worth(one), sign * waiting[one].since))
        del waiting[place]
        if place.done():
            self._give_back()
        else:
            place.set_result(None)
            self._clear_later()

    def _worth(self) -> Callable[[asyncio.Future[None]], tuple[int, int, int]]:
        """Less is better: faults, then places that its connection holds or waits for."""
        waiting, faults = self._waiting, self._faults
        held = Counter(message.connection for message in (*self._reading.values(), *waiting.values()))
        return lambda one: (*faults.of(waiting[one]), held[waiting[one].connection])

    def _clear_later(self) -> None:
        if self._clearing is None and self._reading and self._waiting:
            due = min(message.since + self._time_of(message) for message in self._reading.values())
            self._clearing = asyncio.get_running_loop().call_at(due, self._clear)

    def _time_of(self, message: Message) -> float:
        """Seconds after which it gives way."""
        return self._grace if message.first or self._faults.of(message) > (0, 0) else self._patience

    def _clear(self) -> None:
        """Ends messages that have had their time, one for each call that waits: first of those with the most faults,
        then the oldest. Who has more faults than the one that is to give way has to wait longer."""
        self._clearing = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        faults = self._faults.of
        leaving = sum(ended.done() for ended in self._reading)
        waiting = sorted(map(faults, self._waiting.values()))[leaving:]
        late = [
            (faults(message), message, ended)
            for ended, message in self._reading.items()
            if not ended.done()
            and now - message.since >= self._time_of(message)
            and not (message.here is not None and message.here())
        ]
        late.sort(key=lambda one: one[0], reverse=True)
        for standing, (worst, message, ended) in zip(waiting, late, strict=False):
            if standing <= worst or now - message.since >= self._patience:
                self._give_way(message, ended)
        if waiting:
            # Those just ended are gone by the next turn; the rest is looked at when its time comes.
            self._clearing = loop.call_later(self._grace / 8, self._clear)

    def _give_way(self, message: Message, ended: asyncio.Future[None]) -> None:
        self._slow.inc()
        self._faults.add(message)
        if message.slow is not None:
            message.slow()
        said = "the request came too slowly while others waited; send it again"
        ended.set_exception(OverloadedError(said, _RETRY_SECONDS * random.uniform(0.5, 1.5)))

    def _expire(self) -> None:
        """Ends the messages whose time is up. One timer serves all: most messages are here long before."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for ended, message in self._reading.items():
            if message.end <= now and not ended.done():
                self._faults.add(message)
                ended.set_exception(DeadlineError(f"no complete message within {self._timeout:g} s"))
        self._expiring = None
        ends = [message.end for ended, message in self._reading.items() if not ended.done()]
        if ends:
            self._look_at(min(ends))

    def _look_at(self, when: float) -> None:
        """Looks then, and not before, whose time is up; by the loop's clock."""
        if self._expiring is not None:
            self._expiring.cancel()
        self._expiring = asyncio.get_running_loop().call_at(when, self._expire)

    def _refuse(self, place: asyncio.Future[None]) -> None:
        self._waiting.pop(place, None)
        if not place.done():
            self._refused.inc()
            said = "too many messages are being received; try again shortly"
            place.set_exception(OverloadedError(said, _RETRY_SECONDS * random.uniform(0.5, 1.5)))


def _message(context: Context, now: float, timeout: float, *, first: bool) -> Message:
    door = cast(object, context)
    request = current.get()
    caller = None if request is None else request.caller
    if isinstance(door, InProcessContext):
        return Message(door.peer, caller, now, now + timeout, first, door.received, door.gave_way, door.gone)
    return Message(context.peer, caller, now, now + timeout, first, None, None)


async def _awaited(task: asyncio.Task[Any]) -> Any:
    try:
        return await task
    finally:
        del task  # an error's traceback holds this frame, and the task the error


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

    def _step(self, awaited: Any = None) -> None:
        """Goes on, after `awaited`, up to the next future that the read awaits."""
        del awaited  # an error's traceback holds this frame, and a task the error
        try:
            awaited = self._read.send(None)
        except StopIteration as end:
            if isinstance(end.value, InvalidArgumentError):  # in the place of a message: what came is none
                self._error = end.value if self.ended is not None else None
            else:
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
