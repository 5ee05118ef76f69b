"""Shrinks pixels by whole factors, band by band: Pillow would first copy them all into an image of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

_BAND_PIXELS = 1 << 18


def reduce_pixels(pixels: npt.NDArray[np.uint8], factor_x: int, factor_y: int) -> Image.Image:
    """The mean of every block of `factor_x` by `factor_y` pixels, as `PIL.Image.Image.reduce` has it.

    Args:
        pixels: uint8 [height, width, 3], RGB, with at least one pixel.
        factor_x, factor_y: 1 or more; blocks at the right and at the bottom may be cut off.
    """
    height, width = pixels.shape[:2]
    if factor_x == factor_y == 1:
        return Image.fromarray(pixels)
    reduced = np.empty((-(-height // factor_y), -(-width // factor_x), 3), np.uint8)
    rows = max(_BAND_PIXELS // (width * factor_y), 1)
    for top in range(0, len(reduced), rows):
        band = Image.fromarray(pixels[top * factor_y : (top + rows) * factor_y])
        reduced[top : top + rows] = np.asarray(band.reduce((factor_x, factor_y)))
    return Image.fromarray(reduced)


def shrink(pixels: npt.NDArray[np.uint8], width: int, height: int, resample: Image.Resampling) -> Image.Image:
    """Resized as by `PIL.Image.Image.resize` with a `reducing_gap` of 2: antialiased when it shrinks.

    Args:
        pixels: uint8 [height, width, 3], RGB, with at least one pixel.
        width, height: in pixels.
        resample: the filter.
    """
    rows, columns = pixels.shape[:2]
    gap = 2.0
    nearest = resample is Image.Resampling.NEAREST
    factor_x = 1 if nearest else int(columns / width / gap) or 1
    factor_y = 1 if nearest else int(rows / height / gap) or 1
    reduced = reduce_pixels(pixels, factor_x, factor_y)
    return reduced.resize((width, height), resample, box=(0, 0, columns / factor_x, rows / factor_y))
