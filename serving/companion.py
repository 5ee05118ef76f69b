"""A process that is asked one thing after the other and may die of it: who keeps it, and what its program is made of.

Each question is a line of JSON, then bytes; so is each answer. The process ends with its standard input, or when nobody
has asked it for a while, and is started again when it is needed.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from serving.bare_environment import bare_environment, own_program
from serving.pipe import Pipe

T = TypeVar("T")
Read: TypeAlias = Callable[[int], bytes | bytearray]
"""Reads so many bytes of an answer, or raises EOFError."""
_MAX_LINE_BYTES = 1 << 16
_TRIES = 2
"""It ends when it is idle, which may be just when it is asked."""


class EndedError(Exception):
    """The process ended while it worked on what it was asked; says by what."""


class Companion:
    """One such process, of one program. To be used by one thread at a time."""

    def __init__(self, program: str, *arguments: str, seconds: float, start_seconds: float = 0.0) -> None:
        """
        Args:
            program: the module that answers.
            arguments: its own.
            seconds: for one question, a start of the process included; then it is ended.
            start_seconds: that a start takes at least.
        """
        self._command = own_program(program, *arguments)
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Mapping[str, Any], data: bytes | memoryview, take: Callable[[Any, Read], T]) -> T:
        """What `take` makes of the answer.

        Args:
            question: what JSON can say.
            data: the bytes behind it.
            take: is given the answer's JSON, and reads the bytes behind it, all of them; a ValueError says that they
                are nonsense.

        Raises:
            EndedError: the process ended, took too long, or answered nonsense.
        """
        for _ in range(_TRIES):
            process = self._running()
            try:
                return _exchange(process, question, data, take, time.monotonic() + self._seconds)
            except TimeoutError:
                process.kill()
                code = process.wait()
            except (OSError, EOFError, ValueError, RecursionError):
                code = _end_of(process)
            except BaseException:
                self.close()  # the rest of this answer would be the beginning of the next one
                raise
            if code:
                raise EndedError(signal.Signals(-code).name if code < 0 else f"exit {code}")
        raise EndedError("without an answer")

    @property
    def start_seconds(self) -> float:
        """That it takes at least until it can be asked; 0: it runs. A start for nobody takes the CPUs from others."""
        process = self._process
        return 0.0 if process is not None and process.poll() is None else self._start_seconds

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bare_environment()
        )
        # Nobody may ask for days, and one that has ended stays in the table of processes until somebody waits for it.
        # `threading.Thread` would wait until it has begun; where no memory is left, for ever (serving.thread_pool).
        with contextlib.suppress(RuntimeError, MemoryError):  # whoever asks next waits for it, too
            _thread.start_new_thread(self._process.wait, ())
        return self._process


def questions(idle_seconds: float) -> Iterator[tuple[Any, Callable[[int], bytes]]]:
    """In the process: what it is asked, JSON and a way to the bytes, until there is nobody to ask or for a while nobody
    did."""
    pipe = sys.stdin.buffer
    while select.select([pipe], [], [], idle_seconds)[0]:
        line = pipe.readline()
        if not line:
            return
        yield json.loads(line), pipe.read


def _exchange(
    process: subprocess.Popen[bytes],
    question: Mapping[str, Any],
    data: bytes | memoryview,
    take: Callable[[Any, Read], T],
    deadline: float,
) -> T:
    """
    Raises:
        TimeoutError: the deadline passed.
        OSError, EOFError, ValueError, RecursionError: the process has ended, or answers nonsense.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    there, back = Pipe(process.stdin.fileno(), deadline), Pipe(process.stdout.fileno(), deadline)
    there.write(json.dumps(question).encode() + b"\n")
    there.write(data)
    return take(json.loads(back.line(_MAX_LINE_BYTES)), back.read)


def _end_of(process: subprocess.Popen[bytes]) -> int:
    """What a process ended with that has closed its pipes, or talks nonsense; 0: nobody asked it for a while."""
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
