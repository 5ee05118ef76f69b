"""A process that can have no further thread, or in which one does not begin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

SECONDS = 10.0
"""How long a thread is waited for that never begins; it is for ever outside of tests."""


@contextmanager
def spare_threads(prefix: str = "") -> Iterator[Callable[[int], None]]:
    """The system has no thread for those whose names begin so; what is yielded says how many it has after all."""
    start, left = threading.Thread.start, 0

    def start_if_there_is_one(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith(prefix):
            if not left:
                raise RuntimeError("can't start new thread")
            left -= 1
        start(thread)

    def spare(threads: int) -> None:
        nonlocal left
        left = threads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_if_there_is_one)
        yield spare


@contextmanager
def no_memory() -> Iterator[None]:
    """A thread that is started meanwhile does not say that it has begun, and whoever starts it waits."""
    over = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: over.wait(SECONDS))
        try:
            yield
        finally:
            over.set()
