"""The size of a HEIC or AVIF picture from its boxes (ISO/IEC 14496-12 and 23008-12), without a decoder."""

from __future__ import annotations

from collections.abc import Iterator

MAX_BOXES = 4_096
"""Boxes of one level; a picture of 100 megapixels in tiles has some hundred items."""
_IN_META = 4
"""Bytes of version and flags in front of what a full box holds."""


def canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of the primary picture, before it is turned; None where the file does not say.

    Where the primary picture has no size of its own, the largest size of any counts.
    """
    try:
        return _canvas(data)
    except IndexError:
        return None  # cut off


def _canvas(data: bytes) -> tuple[int, int] | None:
    meta = _find(data, 0, len(data), b"meta")
    if meta is None:
        return None
    start, end = meta[0] + _IN_META, meta[1]
    properties = _find(data, start, end, b"iprp")
    container = properties and _find(data, *properties, b"ipco")
    if not properties or not container:
        return None
    sizes = [
        (int.from_bytes(data[at + 4 : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big"))
        if kind == b"ispe" and stop - at >= 12
        else None
        for kind, at, stop in _boxes(data, *container)
    ]
    own = [sizes[index - 1] for index in _primary(data, start, end, properties) if 0 < index <= len(sizes)]
    known = [size for size in own if size] or [size for size in sizes if size]
    return max(known, key=lambda size: size[0] * size[1], default=None)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where the content begins and ends, of each box between two positions."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if (size and size < head) or stop > end:
            return
        yield kind, start + head, stop
        start = stop


def _find(data: bytes, start: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    return next(((at, stop) for kind, at, stop in _boxes(data, start, end) if kind == wanted), None)


def _primary(data: bytes, start: int, end: int, properties: tuple[int, int]) -> list[int]:
    """Numbers, from 1, of the primary item's properties."""
    pitm, ipma = _find(data, start, end, b"pitm"), _find(data, *properties, b"ipma")
    if pitm is None or ipma is None:
        return []
    at = pitm[0] + _IN_META
    primary = int.from_bytes(data[at : at + (2 if data[pitm[0]] == 0 else 4)], "big")
    position, stop = ipma
    id_size, wide = 2 if data[position] == 0 else 4, data[position + 3] & 1
    count = int.from_bytes(data[position + 4 : position + 8], "big")
    position += 8
    for _ in range(min(count, MAX_BOXES)):
        if position + id_size >= stop:
            return []
        item, number = int.from_bytes(data[position : position + id_size], "big"), data[position + id_size]
        position += id_size + 1
        step = 2 if wide else 1
        stop_of_item = position + number * step
        if item == primary:
            entries = (int.from_bytes(data[at : at + step], "big") for at in range(position, stop_of_item, step))
            return [entry & (0x7FFF if wide else 0x7F) for entry in entries]
        position = stop_of_item
    return []
