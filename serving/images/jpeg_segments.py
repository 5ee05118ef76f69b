"""The segments of a JPEG, bounded, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from serving.images.pieces import too_many

MAX_SEGMENTS = 1_000
MAX_EXIF_SEGMENTS = 4
MAX_PHOTOSHOP_RESOURCES = 1_000
"""Pillow reads each in Python, whatever it is; a file of an image editor has some thirty."""
MAX_SCANS, LEAST_SCANS, MAX_SCANNED_PIXELS = 100, 16, 800_000_000
"""Each scan of a progressive JPEG goes over the whole image, in 0.05 s where that has 40 megapixels; encoders write
about ten. So fewer are taken of a large picture, but always the least."""

END = b"\xff\xd9"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAMES = {0xC0, 0xC1, 0xC2}
ANY_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
SCAN = 0xDA
_PHOTOSHOP = 0xED


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end (bytes) of each segment's body; the end marker of the first image is the last.

    ISO/IEC 10918-1, annex B. A scan's segment is its header alone.

    Raises:
        InvalidArgumentError: there are more than in any honest file; field `image`.
    """
    position, exif, scans, resources, most_scans = 2, 0, 0, 0, MAX_SCANS
    size = len(data)
    for _ in range(MAX_SEGMENTS):
        if position + 2 > size:
            return
        marker = data[position : position + 2]
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
            raise too_many("EXIF segments", MAX_EXIF_SEGMENTS)
        start = position + 4
        position += 2 + (data[position + 2] << 8 | data[position + 3] if start <= size else 0)
        if marker[1] == _PHOTOSHOP:
            resources += data.count(b"8BIM", start, position)
            if resources > MAX_PHOTOSHOP_RESOURCES:
                raise too_many("Photoshop resources", MAX_PHOTOSHOP_RESOURCES)
        end = position if position < size else size
        yield marker[1], start, end
        if marker[1] in ANY_FRAMES:
            most_scans = _fewer_scans(data[start:end], most_scans)
        elif marker[1] == SCAN:
            scans += 1
            if scans > most_scans:
                raise too_many("scans", most_scans)
            following = MARKER.search(data, position)
            if following is None:
                return
            position = following.start()
    raise too_many("segments", MAX_SEGMENTS)


def _fewer_scans(frame: bytes, most: int) -> int:
    """How many scans of a frame are taken, `most` or less."""
    pixels = int.from_bytes(frame[1:3], "big") * int.from_bytes(frame[3:5], "big")
    return most if pixels * most <= MAX_SCANNED_PIXELS else max(MAX_SCANNED_PIXELS // pixels, LEAST_SCANS)


def has_end(data: bytes) -> bool:
    """Whether the end marker of the first image is there."""
    return any(marker == END[1] for marker, _, _ in segments(data))


def coefficient_bytes(data: bytes) -> int:
    """Bytes of the coefficients that libjpeg holds for the whole picture until its last scan has been read.

    That is so for progressive pictures, and for all others whose first scan has not all components. For those that are
    decoded row by row it is 0, and for what is no JPEG.
    """
    frame, kind = b"", 0
    for marker, start, end in segments(data):
        if marker in ANY_FRAMES and end - start >= 6:
            frame, kind = data[start:end], marker
        elif marker == SCAN:
            alone = kind in _SEQUENTIAL and start < end and data[start] >= frame[5]
            return 0 if not frame or alone else _coefficients(frame)
    return 0


def _coefficients(frame: bytes) -> int:
    """Of two bytes each, in blocks of 64; each component has as many blocks as its sampling factors say (A.1, A.2)."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampling = [(factors >> 4, factors & 15) for factors in frame[7 : 6 + 3 * frame[5] : 3]]
    across, down = max((h for h, _ in sampling), default=0), max((v for _, v in sampling), default=0)
    if not (across and down):
        return 0
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    return units * sum(h * v for h, v in sampling) * 64 * 2


def has_all_scans(data: bytes) -> bool:
    """Whether every bit of every coefficient has been in a scan (annex G.1.1.1)."""
    components: list[int] = []
    missing: dict[tuple[int, int], int] = {}
    for marker, start, end in segments(data):
        body = data[start:end]
        if marker in _FRAMES and len(body) >= 6:
            components = list(body[6 : 6 + 3 * body[5] : 3])
        elif marker == SCAN and len(body) == 4 + 2 * body[0]:
            first, last, low = body[-3], body[-2], body[-1] & 15
            for component in body[1:-3:2]:
                missing |= {(component, coefficient): low for coefficient in range(first, min(last, 63) + 1)}
    return bool(components) and all(missing.get((c, i)) == 0 for c in components for i in range(64))
