"""Bounds the pieces of an image file, and the canvas that some formats allocate at once, before Pillow sees it.

Pillow reads segments, chunks and tags one by one in Python and joins some of them in quadratic time: without a bound,
ten megabytes of empty comments keep a processor busy for minutes. Its GIF and WebP readers allocate the whole canvas
when they open a file. Only containers are looked at here, never pixels; a file that is merely broken passes, so that
the decoder says what is wrong with it.
"""

from __future__ import annotations

import struct

from serving.images import png
from serving.images.pieces import too_many

MAX_GIF_BLOCKS = 4_096


def check_structure(data: bytes) -> tuple[int, int] | None:
    """Walks the container of an image file; at most some ten thousand steps. JPEGs are bounded by
    `serving.images.jpeg_bare`.

    Args:
        data: the encoded image.

    Returns:
        Width and height in pixels of a GIF's or WebP's canvas; None for other formats, whose readers allocate nothing
        before their size is known.

    Raises:
        InvalidArgumentError: it has more pieces than any honest file; field `image`.
    """
    if data[:8] == png.SIGNATURE:
        for _ in png.chunks(data):
            pass
    elif data[:4] == b"GIF8":
        return _gif(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _gif(data: bytes) -> tuple[int, int] | None:
    """GIF89a, sections 18 to 25: the screen and the first image, which may reach beyond it."""
    if len(data) < 13:
        return None
    screen_width, screen_height = struct.unpack_from("<HH", data, 6)
    position = 13 + (3 * (2 << (data[10] & 7)) if data[10] & 0x80 else 0)
    in_extension = False
    for _ in range(MAX_GIF_BLOCKS):
        head = data[position : position + 1]
        if in_extension and head:
            in_extension = head != b"\0"
            position += 1 + head[0]
        elif head == b"!":
            in_extension = True
            position += 2
        elif head == b"," and len(data) >= position + 9:
            left, top, width, height = struct.unpack_from("<HHHH", data, position + 1)
            return max(screen_width, left + width), max(screen_height, top + height)
        elif head in {b"", b",", b";"}:
            return screen_width, screen_height
        else:
            position += 1
    raise too_many("blocks before its first frame", MAX_GIF_BLOCKS)


def _webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649, sections 2.5 to 2.7."""
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(data) >= 30:
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None
