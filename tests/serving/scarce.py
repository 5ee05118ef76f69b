"""A process that can have no further thread, or in which one does not begin."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SECONDS = 10.0
"""How long a thread is waited for that never begins; it is for ever outside of tests."""


@contextmanager
def spare_threads(prefix: str | None = "") -> Iterator[Callable[[int], None]]:
    """The system has no thread for those whose names begin so, and none for those without a name; what is yielded says
    how many it has after all.

    Args:
        prefix: None: it has one for each that has a name.
    """
    start, start_nameless, left = threading.Thread.start, _thread.start_new_thread, 0

    def take() -> None:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1

    def start_if_there_is_one(thread: threading.Thread) -> None:
        if prefix is not None and thread.name.startswith(prefix):
            take()
        start(thread)

    def start_nameless_if_there_is_one(*work: Any) -> int:
        take()
        return start_nameless(*work)

    def spare(threads: int) -> None:
        nonlocal left
        left = threads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_if_there_is_one)
        patch.setattr(_thread, "start_new_thread", start_nameless_if_there_is_one)
        yield spare


@contextmanager
def no_memory() -> Iterator[None]:
    """A thread that is started meanwhile does not begin, and `threading.Thread.start` waits for it."""
    over = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: over.wait(SECONDS))
        patch.setattr(_thread, "start_new_thread", lambda *work: 0)
        try:
            yield
        finally:
            over.set()
