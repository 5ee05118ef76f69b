"""A JPEG without what Pillow would read in Python and Ferry does not need, and the metadata that Ferry reads itself.

Pillow passes over the bodies of markers that it has no use for byte by byte, and looks for further segments in them;
with every value of EXIF data and of the index of further pictures it makes objects. So it is given neither.
"""

from __future__ import annotations

from serving.images.jpeg_segments import ANY_FRAMES, SCAN, segments
from serving.images.pieces import too_many

MAX_TABLE_BYTES = 64 << 10
"""Of frames and tables before the first scan; an ordinary file has some hundreds."""

_TABLES = ANY_FRAMES | {0xC4, 0xCC, 0xDB, 0xDD}
"""Frames, Huffman tables, arithmetic conditioning, quantization tables, restart interval."""
_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Segments of programs that say how colours are meant, and what they begin with."""
_METADATA, _EXIF, _XMP = 0xE1, b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def bare(data: bytes, *, scans: bool = True) -> tuple[bytes, dict[str, bytes]]:
    """The same pixels and colours, in a file that is the same from the first scan on; and what was in front of that:
    `exif` and `xmp`, where they were there, as `info` of Pillow's images has them.

    Args:
        data: the file.
        scans: whether pixels are wanted; without, the file ends where the first scan begins.

    Raises:
        InvalidArgumentError: it has more segments, scans or tables than any honest file; field `image`.
    """
    view = memoryview(data)
    kept, found, tables, scanned = [view[:2]], dict[str, bytes](), 0, False
    for marker, start, end in segments(data):
        if scanned:
            continue  # they are counted
        if marker == SCAN:
            kept += (view[start - 4 : len(data) if scans else end],)
            scanned = True
            continue
        if marker in _TABLES:
            tables += end - start
            if tables > MAX_TABLE_BYTES:
                raise too_many("bytes of tables", MAX_TABLE_BYTES)
        elif marker == _METADATA:
            if data.startswith(_EXIF, start):
                found["exif"] = found.get("exif", _EXIF) + data[start + len(_EXIF) : end]
            elif data.startswith(_XMP, start):
                found["xmp"] = data[start + len(_XMP) : end]
            continue
        elif marker not in _KEPT or not data.startswith(_KEPT[marker], start):
            continue
        kept += (view[start - 4 : end],)
    return b"".join(kept), found
