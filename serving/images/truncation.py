"""Files that end too early. One rule: every pixel must be in the file; what comes behind them may be missing."""

from __future__ import annotations

import io
import random

from PIL import Image

from serving.images.jpeg_segments import has_all_scans

_END_OF_JPEG = b"\xff\xd9"
_WEBP_PICTURES = {b"VP8 ", b"VP8L", b"ANMF"}
_MAX_WEBP_CHUNKS = 64
"""Chunks before the picture; there are four kinds."""


def load_jpeg_without_end(data: bytes) -> Image.Image:
    """Decodes a JPEG that lacks its end marker and nothing else.

    libjpeg fills what is missing with grey and does not say so. So the file is decoded twice, with different bytes
    behind its last ones: only where those do not show is every pixel in the file.

    Raises:
        OSError: pixels are missing, too.
    """
    if not has_all_scans(data):
        raise OSError("scans are missing")
    whole = data.rstrip(b"\xff")
    filler = bytes(random.Random(0).choices(range(1, 255), k=1024))
    image, other = (Image.open(io.BytesIO(whole + fill + _END_OF_JPEG), formats=["JPEG"]) for fill in (b"", filler))
    image.load()
    other.load()
    if image.size != other.size or image.tobytes() != other.tobytes():
        raise OSError("pixels are missing")
    return image


def webp_until_first_picture(data: bytes) -> bytes:
    """A WebP that ends too early, up to its first picture if that is whole; any other as it is."""
    if len(data) >= 8 + int.from_bytes(data[4:8], "little"):
        return data
    position = 12
    for _ in range(_MAX_WEBP_CHUNKS):
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        if end > len(data):
            return data
        if data[position : position + 4] in _WEBP_PICTURES:
            body = data[8:end] + b"\0" * (end % 2)
            return b"RIFF" + len(body).to_bytes(4, "little") + body
        position = end + end % 2
    return data
