"""The outline of an ordinary JPEG, in microseconds: what most callers send needs no thread that looks at its header.

Whatever is the least bit out of the ordinary is left to the full look (`serving.images.header`, `serving.images.cost`),
which says the same of those that are known here, and what is wrong with the others.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from serving.images.jpeg_segments import END, MARKER, SCAN

MAX_BYTES = 128 << 10
"""Of a file that is looked at here: a longer one could hold the event loop up for longer than a thread takes, since
what follows its header is searched for the next marker."""
_MAX_SEGMENTS = 24
"""Before the first scan; a camera's file has about twelve."""
_FRAMES = frozenset({0xC0, 0xC1})
"""Of pictures that are decoded row by row: baseline, and extended sequential."""
_HUFFMAN, _QUANTIZATION = 0xC4, 0xDB
_TABLES = {_HUFFMAN, _QUANTIZATION}
"""ISO/IEC 10918-1, B.2.4."""
_MAX_TABLES = 16
"""Four of each kind at most are in use at a time, of Huffman tables two classes."""
_METADATA, _MAX_METADATA = 0xE1, 3
"""EXIF and XMP."""
_PASSED_OVER = frozenset({0xE0, _METADATA, 0xE2, 0xEE, 0xFE, 0xDD})
"""Segments of programs that Ferry reads or leaves out whatever they hold, comments, and the restart interval."""


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """What its segments say up to the first scan.

    Attributes:
        width, height: as stored, pixels.
        components: 1 or 3, of eight bits, all of them in the first scan.
        scan: where the first scan's data begin, bytes.
    """

    width: int
    height: int
    components: int
    scan: int


class _OddError(Exception):
    """It is none of those that are known here."""


def look(data: bytes) -> PlainJpeg | None:
    """What is known of an ordinary JPEG; None: it takes a full look. Never raises.

    Args:
        data: an encoded image of any format.
    """
    if not data.startswith(b"\xff\xd8") or len(data) > MAX_BYTES:
        return None
    try:
        return _until_scan(data)
    except _OddError:
        return None


def _until_scan(data: bytes) -> PlainJpeg:
    position, frame, metadata, tables, kinds = 2, b"", 0, 0, set[int]()
    for _ in range(_MAX_SEGMENTS):
        if len(data) < position + 4 or data[position] != 0xFF:
            raise _OddError
        marker = data[position + 1]
        length = data[position + 2] << 8 | data[position + 3]
        start, end = position + 4, position + 2 + length
        if length < 2 or end > len(data):
            raise _OddError
        if marker == SCAN:
            if kinds != _TABLES:
                raise _OddError
            return _first_scan(data[start:end], frame, end)
        if marker in _FRAMES and not frame:
            frame = data[start:end]
        elif marker in _TABLES:
            tables += _tables(data[start:end], marker, _MAX_TABLES - tables)
            kinds.add(marker)
        elif marker not in _PASSED_OVER:
            raise _OddError
        metadata += marker == _METADATA
        if metadata > _MAX_METADATA:
            raise _OddError
        position = end
    raise _OddError


def has_end(data: bytes, jpeg: PlainJpeg) -> bool:
    """Whether the first marker after the first scan's data is that of the image's end."""
    following = MARKER.search(data, jpeg.scan)
    return following is not None and data.startswith(END, following.start())


def _first_scan(scan: bytes, frame: bytes, end: int) -> PlainJpeg:
    if len(frame) < 6 or not scan:
        raise _OddError
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    named, inside = frame[6::3], scan[1:-3:2]
    ordinary = (
        bits == 8
        and width * height
        and components in {1, 3}
        and len(frame) == 6 + 3 * components
        and len(set(named)) == components
        and all(1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4 for factors in frame[7::3])
        and len(scan) == 4 + 2 * scan[0]
        and sorted(inside) == sorted(named)
    )
    if not ordinary:
        raise _OddError
    return PlainJpeg(width, height, components, end)


def _tables(body: bytes, marker: int, most: int) -> int:
    """How many whole tables of known kinds a segment holds, and nothing else, as Pillow wants them to be read."""
    position, found = 0, 0
    while position < len(body):
        precision, number = body[position] >> 4, body[position] & 15
        found += 1
        if precision > 1 or number > 3 or found > most or len(body) < position + 17:
            raise _OddError
        values = 64 * (1 + precision) if marker == _QUANTIZATION else 16 + sum(body[position + 1 : position + 17])
        position += 1 + values
    if not body or position != len(body):
        raise _OddError
    return found
