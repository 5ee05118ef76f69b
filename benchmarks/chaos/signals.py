"""What is done to processes: killed, stopped, made slow."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD = 0.05
"""Seconds of one turn of running and standing still."""


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def slow(pid: int, factor: float) -> Iterator[None]:
    """Lets a process run for one part of `factor` of the time: stopped and continued twenty times a second."""

    def turn(stop: threading.Event) -> None:
        while not stop.wait(PERIOD / factor):
            send(pid, signal.SIGSTOP)
            stop.wait(PERIOD * (1 - 1 / factor))
            send(pid, signal.SIGCONT)

    with _repeating(turn):
        yield
    send(pid, signal.SIGCONT)


@contextmanager
def kept_dead(pids: Callable[[], list[int]]) -> Iterator[None]:
    """Kills whatever `pids` names, again and again: what is started anew dies too."""

    def turn(stop: threading.Event) -> None:
        while not stop.is_set():
            for pid in pids():
                send(pid, signal.SIGKILL)
            stop.wait(0.05)

    with _repeating(turn):
        yield


@contextmanager
def _repeating(work: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
