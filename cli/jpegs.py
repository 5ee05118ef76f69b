"""JPEGs that follow each other in a stream of bytes, as cameras and ffmpeg (`-f mjpeg`) write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

_READ: Final = 1 << 16
_MOST: Final = 32 << 20
"""Bytes of one picture."""
_START: Final = b"\xff\xd8"
_FILL, _END, _SCAN = 0xFF, 0xD9, 0xDA
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""
_STUFFED: Final = frozenset({0x00, *range(0xD0, 0xD8)})
"""What follows 0xFF within the data of a scan."""


class Source(Protocol):
    """A file opened in binary mode, buffered."""

    def read1(self, size: int, /) -> bytes: ...


def jpegs(source: Source) -> Iterator[bytes]:
    """Each picture as soon as it is whole; bytes between pictures are passed over, and one that is cut off is left out.

    Raises:
        ValueError: a picture has no end.
    """
    buffer = bytearray()

    def more() -> bool:
        if len(buffer) > _MOST:
            raise ValueError(f"a JPEG has no end within {_MOST >> 20} MiB")
        read = source.read1(_READ)
        buffer.extend(read)
        return bool(read)

    while True:
        while (start := buffer.find(_START)) < 0:
            del buffer[:-1]
            if not more():
                return
        del buffer[:start]
        end = _end(buffer, more)
        if end is None:
            return
        yield bytes(buffer[:end])
        del buffer[:end]


def _end(buffer: bytearray, more: Callable[[], bool]) -> int | None:
    """Where the JPEG that `buffer` begins with ends, from marker to marker: a thumbnail within it ends, too."""
    at = len(_START)
    while True:
        while len(buffer) < at + 2:
            if not more():
                return None
        marker = buffer[at + 1]
        if marker == _END:
            return at + 2
        if marker == _FILL or marker in _ALONE:
            at += 1 if marker == _FILL else 2
            continue
        while len(buffer) < at + 4:
            if not more():
                return None
        at += 2 + int.from_bytes(buffer[at + 2 : at + 4])
        if marker == _SCAN:
            next_marker = _after_scan(buffer, at, more)
            if next_marker is None:
                return None
            at = next_marker


def _after_scan(buffer: bytearray, at: int, more: Callable[[], bool]) -> int | None:
    while True:
        found = buffer.find(0xFF, at)
        at = len(buffer) if found < 0 else found
        if at + 1 >= len(buffer):
            if not more():
                return None
            continue
        if buffer[at + 1] not in _STUFFED:
            return at
        at += 2
