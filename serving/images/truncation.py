"""Files that end too early. One rule: every pixel must be in the file; what comes behind them may be missing."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

from PIL import Image

from serving.images.jpeg_segments import has_all_scans

_COMPARED_AT_ONCE = 1 << 18
"""Pixels."""
_END_OF_JPEG = b"\xff\xd9"
_WEBP_PICTURES = {b"VP8 ", b"VP8L", b"ANMF"}
_MAX_WEBP_CHUNKS = 64
"""Chunks before the picture; there are four kinds."""


def draft(image: Image.Image, reduction: int) -> int:
    """Has an opened JPEG shrunk while it is decoded.

    Args:
        image: not loaded yet.
        reduction: 1, 2, 4 or 8.

    Returns:
        What it is shrunk by: `reduction`, or less where a side has fewer pixels than that.
    """
    if reduction > 1:
        image.draft(None, (max(image.width // reduction, 1), max(image.height // reduction, 1)))
    return int((getattr(image, "decoderconfig", ()) or (1,))[0])


def load_jpeg_without_end(data: bytes, reduction: int = 1) -> Image.Image:
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
    for one in (image, other):
        draft(one, reduction)
        one.load()
    if image.size != other.size or any(a != b for a, b in zip(_bands(image), _bands(other), strict=True)):
        raise OSError("pixels are missing")
    return image


def _bands(image: Image.Image) -> Iterator[bytes]:
    rows = max(_COMPARED_AT_ONCE // image.width, 1)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()


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
