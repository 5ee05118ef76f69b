"""What may hang is done in a thread that the test does not wait for for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_time(work: Callable[[], T], seconds: float = 5.0) -> T:
    """What `work` gives, or raises; fails where it does not end."""
    found: list[T] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    for error in raised:
        raise error
    return found[0]
