"""Work that can be left: a process that is to end does not wait for it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_PREFIX = "ferry-left-"
_starter = ThreadPoolExecutor(1, thread_name_prefix="starter")
"""Where no memory is left a start may last for ever (serving.thread_pool): not on the event loop. Its own thread
is there from the first model on."""
_START_SECONDS = 10.0


async def in_daemon_thread(work: Callable[..., T], *arguments: Any, name: str) -> T:
    """What `work(*arguments)` returns, on a thread of its own. Where the wait is cancelled, the work goes on to no
    purpose until it or the process ends; `asyncio.to_thread` would keep the process.

    Args:
        work: what may take minutes and cannot be interrupted, such as to load a model.
        arguments: its arguments.
        name: of the thread.

    Raises:
        RuntimeError: no thread can be started.
        Exception: what `work` raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        try:
            outcome = partial(future.set_result, work(*arguments))
        except Exception as error:
            outcome = partial(future.set_exception, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, outcome)

    surroundings = contextvars.copy_context()
    thread = threading.Thread(target=surroundings.run, args=(run,), name=_PREFIX + name, daemon=True)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await loop.run_in_executor(_starter, thread.start)
    except TimeoutError:
        raise RuntimeError(f"a thread for {name} did not begin: memory may be short; restart the service") from None
    return await future


def any_left() -> bool:
    """Whether such work is still under way."""
    return any(thread.name.startswith(_PREFIX) for thread in threading.enumerate())
