"""A process that is asked and may die: what it answers, and what becomes of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.companion import Companion, EndedError, Read, questions
from tests.processes import until
from tests.serving.scarce import SECONDS, no_memory, spare_threads

NAME = "tests.serving.test_companion"


def main(idle_seconds: str) -> None:
    """Says the bytes again, with what it was asked; told to end, it does; told a lie, it says that."""
    for question, read in questions(float(idle_seconds)):
        data = read(question["size"])
        if "end" in question:
            os._exit(question["end"])
        if "kill" in question:
            os.kill(os.getpid(), question["kill"])
        head = question["lie"].encode() if "lie" in question else b"[%d]" % len(data)
        sys.stdout.buffer.write(head + b"\n" + data)
        sys.stdout.buffer.flush()
        if "once" in question:
            return


@pytest.fixture
def companion() -> Iterator[Companion]:
    started = Companion(NAME, "60", seconds=30)
    yield started
    started.close()


def ask(companion: Companion, data: bytes = b"abc", **question: Any) -> tuple[Any, bytes]:
    def take(answer: Any, read: Read) -> tuple[Any, bytes]:
        return answer, read(answer[0])

    return companion.ask({"size": len(data), **question}, data, take)


def test_it_answers_and_is_started_again_where_it_ended(companion: Companion) -> None:
    large = bytes(1 << 20)
    for _ in range(2):
        assert ask(companion) == ([3], b"abc")
        assert ask(companion, large) == ([len(large)], large)
        with pytest.raises(EndedError, match="SIGSEGV"):
            ask(companion, kill=11)
        with pytest.raises(EndedError, match="exit 3"):
            ask(companion, end=3)


def test_one_that_has_just_ended_because_nobody_asked_is_no_loss(companion: Companion) -> None:
    impatient = Companion(NAME, "0", seconds=30)
    for _ in range(3):
        assert ask(companion, once=True) == ([3], b"abc")
        assert ask(impatient) == ([3], b"abc")
    impatient.close()


def test_modules_of_the_folder_that_it_is_started_in_are_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(7)\n")
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise SystemExit(8)\n")
    monkeypatch.chdir(tmp_path)
    companion = Companion(NAME, "60", seconds=30)
    try:
        assert ask(companion) == ([3], b"abc")
    finally:
        companion.close()


def test_nothing_is_left_of_one_that_nobody_asks() -> None:
    companion = Companion(NAME, "0.1", seconds=30)
    assert ask(companion) == ([3], b"abc")
    assert companion._process is not None
    there = Path(f"/proc/{companion._process.pid}")
    until(lambda: not there.exists())
    assert ask(companion) == ([3], b"abc")
    companion.close()


def test_an_answer_that_nobody_could_take_is_not_the_next_one_s(companion: Companion) -> None:
    def fail(answer: Any, read: Read) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        companion.ask({"size": 3}, b"abc", fail)
    assert ask(companion, b"other") == ([5], b"other")


@pytest.mark.parametrize("lie", ["no JSON", "[" * 5000], ids=["no JSON", "deeply nested"])
def test_one_that_lies_or_takes_too_long_is_ended(companion: Companion, lie: str) -> None:
    with pytest.raises(EndedError, match="SIGKILL"):
        ask(companion, lie=lie)
    hasty = Companion(NAME, "60", seconds=0.2)
    with pytest.raises(EndedError, match="SIGKILL"):
        ask(hasty, kill=19)
    hasty.close()


def test_one_that_does_not_read_is_ended() -> None:
    companion = Companion(NAME, "60", seconds=30)
    assert ask(companion) == ([3], b"abc")
    assert companion._process is not None
    companion._seconds = 0.3
    os.kill(companion._process.pid, signal.SIGSTOP)
    with pytest.raises(EndedError, match="SIGKILL"):
        ask(companion, bytes(8 << 20))
    companion.close()


def test_a_question_and_a_start_of_the_process_need_no_thread(companion: Companion) -> None:
    with spare_threads():
        for _ in range(2):
            assert ask(companion) == ([3], b"abc")
            with pytest.raises(EndedError, match="exit 3"):
                ask(companion, end=3)
    with no_memory():
        began = time.monotonic()
        assert ask(companion) == ([3], b"abc")
        assert time.monotonic() - began < SECONDS / 2


def test_one_that_runs_takes_no_time_to_start() -> None:
    companion = Companion(NAME, "60", seconds=30, start_seconds=0.5)
    try:
        assert companion.start_seconds == 0.5
        ask(companion)
        assert companion.start_seconds == 0.0
    finally:
        companion.close()
    assert companion.start_seconds == 0.5


if __name__ == "__main__":
    main(sys.argv[1])
