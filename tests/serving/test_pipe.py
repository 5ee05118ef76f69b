"""Pipes that are read and written before a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from serving.pipe import Pipe

SOON = 0.05


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """Of a pipe: to read, to write. Those that a test takes out it closes itself."""
    there = list(os.pipe())
    yield there
    for end in there:
        os.close(end)


def pipe(file: int, seconds: float = 30.0) -> Pipe:
    return Pipe(file, time.monotonic() + seconds)


def test_lines_and_bytes_come_as_they_were_written(ends: list[int]) -> None:
    pipe(ends[1]).write(b"one\n\ntwo\nabcdef")
    pipe(ends[1]).write(memoryview(b"ghi"))
    reader = pipe(ends[0])
    assert (reader.line(3), reader.line(3), reader.line(3)) == (b"one", b"", b"two")
    assert (reader.read(2), reader.read(0), reader.read(7)) == (b"ab", b"", b"cdefghi")


def test_an_end_comes_only_behind_all_that_was_written(ends: list[int]) -> None:
    os.write(ends[1], b"ab")
    os.close(ends.pop())
    with pytest.raises(ValueError, match="more"):
        pipe(ends[0]).end()
    reader = pipe(ends[0])
    assert reader.read(1) == b"b"
    reader.end()
    for read in (reader.read, reader.line):
        with pytest.raises(EOFError):
            read(1)


def test_half_a_line_or_too_few_bytes_are_none(ends: list[int]) -> None:
    os.write(ends[1], b"ab")
    os.close(ends.pop())
    reader = pipe(ends[0])
    with pytest.raises(EOFError):
        reader.line(10)
    with pytest.raises(EOFError):
        reader.read(3)


@pytest.mark.parametrize("text", [b"abcd", b"abcd\n", bytes(3 << 16)])
def test_a_line_is_not_longer_than_it_may_be(ends: list[int], text: bytes) -> None:
    pipe(ends[1]).write(text)
    with pytest.raises(ValueError, match="too long"):
        pipe(ends[0]).line(3)


def test_nobody_is_waited_for_beyond_the_deadline(ends: list[int]) -> None:
    began = time.monotonic()
    os.write(ends[1], b"a")
    for wait in (lambda: pipe(ends[0], SOON).read(2), lambda: pipe(ends[0], SOON).line(9), pipe(ends[0], SOON).end):
        with pytest.raises(TimeoutError):
            wait()
    with pytest.raises(TimeoutError):
        pipe(ends[1], SOON).write(bytes(4 << 20))
    assert time.monotonic() - began < 10


def test_what_is_there_is_read_even_when_it_is_late(ends: list[int]) -> None:
    os.write(ends[1], b"a\nb")
    late = pipe(ends[0], -1.0)
    assert (late.line(9), late.read(1)) == (b"a", b"b")


def test_who_writes_to_nobody_is_told_so(ends: list[int]) -> None:
    os.close(ends.pop(0))
    with pytest.raises(BrokenPipeError):
        pipe(ends[0]).write(b"a")
