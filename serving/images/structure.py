"""Bounds the pieces of an image file, and the canvas that some formats allocate at once, before Pillow sees it.

Pillow reads segments, chunks and tags one by one in Python and joins some of them in quadratic time: without a bound,
ten megabytes of empty comments keep a processor busy for minutes. Its GIF and WebP readers allocate the whole canvas
when they open a file. Only containers are looked at here, never pixels; a file that is merely broken passes, so that
the decoder says what is wrong with it.
"""

from __future__ import annotations

import re
import struct

from serving.errors import InvalidArgumentError

MAX_JPEG_SEGMENTS = 1_000
MAX_JPEG_EXIF_SEGMENTS = 4
MAX_JPEG_SCANS = 100
"""Each scan of a progressive JPEG goes over the whole image; encoders write about ten."""
MAX_PNG_CHUNKS = 16_384
MAX_PNG_METADATA_CHUNKS = 512
MAX_GIF_BLOCKS = 4_096
MAX_TIFF_TAGS = 1_024
MAX_TIFF_VALUES = 65_536
"""Values of one numeric tag, such as the offsets of strips; text and opaque bytes may be longer."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def check_structure(data: bytes) -> tuple[int, int] | None:
    """Walks the container of an image file; at most some ten thousand steps.

    Args:
        data: the encoded image.

    Returns:
        Width and height in pixels of a GIF's or WebP's canvas; None for other formats, whose readers allocate nothing
        before their size is known.

    Raises:
        InvalidArgumentError: it has more pieces than any honest file; field `image`.
    """
    if data[:2] == b"\xff\xd8":
        _jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        _png(data)
    elif data[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        _tiff(data)
    elif data[:4] == b"GIF8":
        return _gif(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _refuse(pieces: str, limit: int) -> InvalidArgumentError:
    return InvalidArgumentError("image", f"has more than {limit} {pieces}; save it again without its metadata")


def _jpeg(data: bytes) -> None:
    """ISO/IEC 10918-1, annex B, up to the end of the first image."""
    position, exif, scans = 2, 0, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = data[position : position + 2]
        if len(marker) < 2 or (scans and marker[1] == 0xD9):
            return
        if marker[0] != 0xFF or marker[1] in {0x00, 0xFF}:
            position += 1  # fill bytes
            continue
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD9:
            position += 2  # markers without a segment
            continue
        exif += data[position + 4 : position + 8] == b"Exif"
        if exif > MAX_JPEG_EXIF_SEGMENTS:
            raise _refuse("EXIF segments", MAX_JPEG_EXIF_SEGMENTS)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker[1] == 0xDA:
            scans += 1
            if scans > MAX_JPEG_SCANS:
                raise _refuse("scans", MAX_JPEG_SCANS)
            following = _JPEG_MARKER.search(data, position)
            if following is None:
                return
            position = following.start()
    raise _refuse("segments", MAX_JPEG_SEGMENTS)


def _png(data: bytes) -> None:
    """PNG, third edition, section 5.3."""
    position, metadata = 8, 0
    for _ in range(MAX_PNG_CHUNKS):
        kind = data[position + 4 : position + 8]
        if len(kind) < 4 or kind == b"IEND":
            return
        metadata += kind not in {b"IDAT", b"fdAT", b"fcTL"}
        if metadata > MAX_PNG_METADATA_CHUNKS:
            raise _refuse("chunks of metadata", MAX_PNG_METADATA_CHUNKS)
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    raise _refuse("chunks", MAX_PNG_CHUNKS)


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
    raise _refuse("blocks before its first frame", MAX_GIF_BLOCKS)


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


def _tiff(data: bytes) -> None:
    """TIFF 6.0, section 2, and BigTIFF: the first directory."""
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in {b"+\0", b"\0+"}
    start, tags, entry, tag_size = ("Q", "Q", "HHQ", 20) if big else ("I", "H", "HHI", 12)
    try:
        (position,) = struct.unpack_from(order + start, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + tags, data, position)
        if count > MAX_TIFF_TAGS:
            raise _refuse("tags", MAX_TIFF_TAGS)
        position += struct.calcsize(order + tags)
        for index in range(count):
            _, kind, values = struct.unpack_from(order + entry, data, position + index * tag_size)
            if values > MAX_TIFF_VALUES and kind not in {1, 2, 6, 7}:  # bytes and text
                raise _refuse("values in a tag", MAX_TIFF_VALUES)
    except (struct.error, OverflowError):
        return
