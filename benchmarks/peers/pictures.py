"""Pictures with as many faces as are asked for, made of the sample photo."""

from __future__ import annotations

import io
import math

from PIL import Image, ImageOps

from benchmarks.photo import SAMPLE

TILE = (200, 150)
"""Pixels of a tile with one face; 8 x 8 of them are a picture of 1600 x 1200."""


def faces_in_a_grid(count: int, quality: int = 90) -> bytes:
    """An encoded JPEG of `count` tiles, each with the same face, in a grid as square as may be; one is 640 x 480.

    Args:
        count: 1 to 64 faces.
        quality: of the JPEG.
    """
    side = math.ceil(math.sqrt(count))
    width, height = (640, 480) if count == 1 else TILE
    with Image.open(SAMPLE) as image:
        tile = ImageOps.fit(image.convert("RGB"), (width, height), centering=(0.5, 0.2))
    sheet = Image.new("RGB", (width * side, height * math.ceil(count / side)), (114, 114, 114))
    for i in range(count):
        sheet.paste(tile, (width * (i % side), height * (i // side)))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
