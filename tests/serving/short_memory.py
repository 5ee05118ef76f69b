"""A process in which no memory is left for another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def no_memory() -> Iterator[None]:
    """A thread that is started meanwhile does not say that it has begun, so that whoever starts it waits until the
    end of this."""
    over = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: over.wait(30))
        try:
            yield
        finally:
            over.set()
