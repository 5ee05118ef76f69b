"""Work that can be left: a process that is to end does not wait for it."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_START_SECONDS = 10.0
"""That a thread may take until it begins."""
_left: set[threading.Lock] = set()
"""One for each work under way. Whoever takes it first decides: the thread that begins, or who gives it up."""


async def in_daemon_thread(work: Callable[..., T], *arguments: Any, name: str) -> T:
    """What `work(*arguments)` returns, on a thread of its own. Where the wait is cancelled, the work goes on to no
    purpose until it or the process ends; `asyncio.to_thread` would keep the process.

    Args:
        work: what may take minutes and cannot be interrupted, such as to load a model.
        arguments: its arguments.
        name: of the work, for whoever is told that it did not begin.

    Raises:
        RuntimeError: no thread can be started, or the one that was does not begin.
        MemoryError: no thread can be started.
        Exception: what `work` raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    decision = threading.Lock()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        if not decision.acquire(blocking=False):
            return
        try:
            try:
                outcome = partial(future.set_result, work(*arguments))
            except Exception as error:
                outcome = partial(future.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, outcome)
        finally:
            _left.discard(decision)

    def never_began() -> bool:
        if not decision.acquire(blocking=False):
            return False
        _left.discard(decision)
        return True

    _left.add(decision)
    try:
        # `threading.Thread` would wait until it has begun; where no memory is left, for ever (serving.thread_pool).
        _thread.start_new_thread(contextvars.copy_context().run, (run,))
        done, _ = await asyncio.wait({future}, timeout=_START_SECONDS)
        if not done and never_began():
            raise RuntimeError(f"a thread for {name} did not begin: memory may be short")
        return await future
    finally:
        future.cancel()
        never_began()


def any_left() -> bool:
    """Whether such work is still under way."""
    return bool(_left)
