"""The segments of a JPEG, bounded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from serving.errors import InvalidArgumentError

MAX_SEGMENTS = 1_000
MAX_EXIF_SEGMENTS = 4
MAX_SCANS = 100
"""Each scan of a progressive JPEG goes over the whole image; encoders write about ten."""

END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAMES = {0xC0, 0xC1, 0xC2}
_SCAN = 0xDA


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end (bytes) of each segment's body; the end marker of the first image is the last.

    ISO/IEC 10918-1, annex B. A scan's segment is its header alone.

    Raises:
        InvalidArgumentError: there are more than in any honest file; field `image`.
    """
    position, exif, scans = 2, 0, 0
    for _ in range(MAX_SEGMENTS):
        marker = data[position : position + 2]
        if len(marker) < 2:
            return
        if scans and marker == END:
            yield 0xD9, position + 2, position + 2
            return
        if marker[0] != 0xFF or marker[1] in {0x00, 0xFF}:
            position += 1  # fill bytes
            continue
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD9:
            position += 2  # markers without a segment
            continue
        exif += data[position + 4 : position + 8] == b"Exif"
        if exif > MAX_EXIF_SEGMENTS:
            raise _refuse("EXIF segments", MAX_EXIF_SEGMENTS)
        start = position + 4
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker[1], start, min(position, len(data))
        if marker[1] == _SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise _refuse("scans", MAX_SCANS)
            following = _MARKER.search(data, position)
            if following is None:
                return
            position = following.start()
    raise _refuse("segments", MAX_SEGMENTS)


def has_all_scans(data: bytes) -> bool:
    """Whether every bit of every coefficient has been in a scan (annex G.1.1.1)."""
    components: list[int] = []
    missing: dict[tuple[int, int], int] = {}
    for marker, start, end in segments(data):
        body = data[start:end]
        if marker in _FRAMES and len(body) >= 6:
            components = list(body[6 : 6 + 3 * body[5] : 3])
        elif marker == _SCAN and len(body) == 4 + 2 * body[0]:
            first, last, low = body[-3], body[-2], body[-1] & 15
            for component in body[1:-3:2]:
                missing |= {(component, coefficient): low for coefficient in range(first, min(last, 63) + 1)}
    return bool(components) and all(missing.get((c, i)) == 0 for c in components for i in range(64))


def _refuse(pieces: str, limit: int) -> InvalidArgumentError:
    return InvalidArgumentError("image", f"has more than {limit} {pieces}; save it again without its metadata")
