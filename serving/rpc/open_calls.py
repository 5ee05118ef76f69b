"""How many calls are open at once: from their metadata until gRPC has sent the last of the answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

import grpc

from serving.errors import OverloadedError
from serving.telemetry import metrics

# A string: the class is generic in its stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

UNREAD_SECONDS = 1.0
"""For which a caller may leave an answer unread; then its call makes room for a new one, where no more may be open."""
RETRY_SECONDS = 1.0


def spare(most: int) -> int:
    """How many calls may be there that have given way, and are not yet gone, beside `most` that are open."""
    return max(1, most // 4)


class OpenCalls:
    """Counts the calls of some methods. One event loop.

    Where no more may be open, calls whose answers nobody reads are counted apart. They go on, since their callers may
    only be slow; but when there are too many of them as well, the connection that has the most of them is ended. gRPC
    holds an answer that nobody reads until then.
    """

    def __init__(self, most: int, hang_up: Callable[[str], bool] = lambda peer: False) -> None:
        """
        Args:
            most: open at once; a quarter of it, at least one, may be left unread beside them.
            hang_up: ends the connection of a peer, by the name that gRPC gives it; whether it could.
        """
        self._most = most
        self._hang_up = hang_up
        self._open: dict[asyncio.Task[object], str | None] = {}
        """Who made each, by the name that gRPC gives him; None: it is only being admitted."""
        self._sending: dict[asyncio.Task[object], float] = {}
        """Since when gRPC sends what each has answered, the oldest first."""
        self._unread: dict[asyncio.Task[object], str] = {}
        """Those that count no more, likewise."""
        self._refused, self._cut_off = (metrics.REJECTED.labels(reason) for reason in ("calls", "unread"))

    def enter(self, task: asyncio.Task[object] | None) -> None:
        """Counts the call that `task` serves until the task ends; gRPC's own writes its answer to the end.

        Raises:
            OverloadedError: too many are open.
        """
        if task is None:
            return
        if len(self._open) >= self._most and not self._make_room():
            raise self.refusal()
        self._open[task] = None
        task.add_done_callback(self._ended)

    def begin(self, context: Context) -> None:
        """The call of this task is admitted; `context` is its."""
        task = asyncio.current_task()
        if task in self._open:
            # Asked now: of a call that gRPC is done with it reads memory that may be freed.
            self._open[task] = context.peer()

    @property
    def peers(self) -> Iterator[str]:
        """Who has calls here, by the names that gRPC gives them."""
        yield from (peer for peer in self._open.values() if peer is not None)
        yield from self._unread.values()

    def refusal(self) -> OverloadedError:
        """Says that there is no room, and counts that it was said."""
        self._refused.inc()
        return OverloadedError("too many calls are open; try again shortly", RETRY_SECONDS)

    def sending(self) -> None:
        """The call of this task has an answer, which gRPC sends from now on."""
        task = asyncio.current_task()
        if task in self._open:
            self._sending.setdefault(task, task.get_loop().time())

    def sent(self) -> None:
        """It is on its way; the call of this task goes on."""
        task = asyncio.current_task()
        if task is None:
            return
        self._sending.pop(task, None)
        peer = self._unread.pop(task, None)
        if peer is not None:
            self._open[task] = peer

    def _make_room(self) -> bool:
        """Sets the call apart whose answer has been left unread the longest, if for too long; whether there was one."""
        task, since = next(iter(self._sending.items()), (None, 0.0))
        peer = self._open.get(task) if task is not None else None
        if task is None or peer is None or task.get_loop().time() - since < UNREAD_SECONDS:
            return False
        if len(self._unread) >= spare(self._most) and not self._cut_off_one():
            return False
        self._ended(task)
        self._unread[task] = peer
        return True

    def _cut_off_one(self) -> bool:
        """Ends the connection with the most answers that nobody reads; whether it could."""
        [(peer, count)] = Counter(self._unread.values()).most_common(1)
        if not self._hang_up(peer):
            return False
        self._cut_off.inc(count)
        self._unread = {task: of for task, of in self._unread.items() if of != peer}
        return True

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._open.pop(task, None)
        self._sending.pop(task, None)
        self._unread.pop(task, None)
