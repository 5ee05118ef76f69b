"""A process in which no memory is left for another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECONDS = 10.0
"""How long a thread is waited for that never begins; it is for ever outside of tests."""


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
