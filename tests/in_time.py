"""What may hang is done in a thread that the test does not wait for for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_time(work: Callable[[], T], seconds: float = 5.0) -> T:
    """What `work` gives; fails where it does not end."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it hangs" if thread.is_alive() else "it failed"
    return found[0]
