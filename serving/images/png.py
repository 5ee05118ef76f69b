"""PNG without the chunks that say nothing about its pixels, and whether all its rows are there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from serving.images.pieces import too_many

MAX_CHUNKS = 16_384
MAX_METADATA_CHUNKS = 512
MAX_TEXT_BYTES = 64 << 10
"""Largest text that is kept, packed and unpacked: some programs keep EXIF data in text."""

_PACKED_AT_ONCE, _UNPACKED_AT_ONCE = 16 << 10, 256 << 10
"""Bytes: what is left of the first is copied for each of the second."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}
_KEPT_TEXT = (b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Keywords of text with the orientation: as ImageMagick writes EXIF data, and Adobe's XMP."""
_PALETTE = 3
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
"""PNG, third edition, section 8.1: first column, step, first row and step of each pass."""


def bare(data: bytes) -> bytes:
    """The same picture without what Pillow would read and Ferry does not need; a broken file stays as it is.

    An animation is its default picture then. The colour profile goes too; `profile` finds it.
    """
    parts, kept = [SIGNATURE], 8
    for kind, start, end in chunks(data):
        if kind in _PICTURE or (kind in {b"tEXt", b"zTXt", b"iTXt"} and _is_kept(kind, data[start + 8 : end - 4])):
            parts.append(data[start:end])
            kept += end - start
    return data if kept == len(data) else b"".join(parts)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end (bytes) of each chunk, up to IEND or to where the file ends; the last may be cut off.

    Raises:
        InvalidArgumentError: there are more than in any honest file; field `image`.
    """
    position, metadata = 8, 0
    for _ in range(MAX_CHUNKS):
        kind = data[position + 4 : position + 8]
        if len(kind) < 4:
            return
        metadata += kind not in {b"IDAT", b"fdAT", b"fcTL"}
        if metadata > MAX_METADATA_CHUNKS:
            raise too_many("chunks of metadata", MAX_METADATA_CHUNKS)
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        yield kind, position, min(end, len(data))
        if kind == b"IEND":
            return
        position = end
    raise too_many("chunks", MAX_CHUNKS)


def profile(data: bytes, limit: int) -> bytes | None:
    """The colour profile, unpacked; None where there is none, it is broken, or larger than `limit` bytes."""
    for kind, start, end in chunks(data):
        if kind == b"iCCP":
            packed = data[start + 8 : end - 4].partition(b"\0")[2]
            return unpack(packed[1:], limit)
        if kind == b"IDAT":
            break
    return None


def transparent(data: bytes, key: Any) -> Any:
    """The colour that stands for transparency, as Pillow compares it with samples: they are unpacked to 8 bits, and the
    colour in `info` is not.

    Args:
        data: the file.
        key: of `info`: a number, three, or what else a palette has.
    """
    depth, palette = data[24], data[25] == _PALETTE
    if palette or key is None or depth == 8:
        return key
    if depth < 8:
        return (key & (1 << depth) - 1) * 255 // ((1 << depth) - 1)
    return tuple(sample >> 8 for sample in key) if isinstance(key, tuple) else key  # grey keeps its 16 bits


def unpack(packed: bytes, limit: int) -> bytes | None:
    """zlib data, unpacked; None where it is broken, cut off or longer than `limit` bytes."""
    packer = zlib.decompressobj()
    try:
        unpacked = packer.decompress(packed, limit)
    except zlib.error:
        return None
    return unpacked if packer.eof else None


def has_all_rows(data: bytes) -> bool:
    """Whether the pixel data unpack to as many bytes as the header promises; True where the header is broken."""
    expected, packer = None, zlib.decompressobj()
    for kind, start, end in chunks(data):
        if kind == b"IHDR" and end - start == 25:
            expected = _bytes(data[start + 8 : end - 4])
        if kind != b"IDAT" or expected is None:
            continue
        stop = min(end, start + 8 + int.from_bytes(data[start : start + 4], "big"))
        for at in range(start + 8, stop, _PACKED_AT_ONCE):
            packed = data[at : min(at + _PACKED_AT_ONCE, stop)]
            while packed and expected > 0 and not packer.eof:
                try:
                    expected -= len(packer.decompress(packed, _UNPACKED_AT_ONCE))
                except zlib.error:
                    return True  # damaged, not cut off: the decoder says so
                packed = packer.unconsumed_tail
            if expected <= 0:
                return True
    return expected is None or expected <= 0


def _bytes(header: bytes) -> int | None:
    """Bytes of all rows with their filter bytes, from the body of IHDR; None where it is broken."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, interlaced = header[8], header[9], header[12]
    if colour not in _CHANNELS or interlaced > 1:
        return None
    passes = _ADAM7 if interlaced else ((0, 1, 0, 1),)
    total = 0
    for left, across, top, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * depth * _CHANNELS[colour] // 8))
    return total


def _is_kept(kind: bytes, body: bytes) -> bool:
    """Whether a chunk of text says something about the orientation and is small."""
    if len(body) > MAX_TEXT_BYTES or not body.startswith(_KEPT_TEXT):
        return False
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        return rest[:1] == b"\0"  # not packed
    return kind == b"tEXt" or unpack(rest[1:], MAX_TEXT_BYTES) is not None
