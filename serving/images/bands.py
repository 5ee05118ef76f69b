"""From a decoded Pillow image to upright RGB, band by band, so that nothing is held twice at full size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.orientation import UPRIGHT

ToRgb = Callable[[Image.Image], npt.NDArray[np.uint8]]
"""Makes uint8 [height, width, 3] of a band of an image."""

BAND_PIXELS = 1 << 18
"""Pixels of one band: its copies take a few megabytes, and a row more is never needed."""

ON_SIDE = frozenset({5, 6, 7, 8})
"""Orientations that exchange width and height."""
_FROM_THE_END = frozenset({3, 4, 6, 7})
"""Orientations whose first stored row is the last row or column of the upright image."""


def upright_rgb(image: Image.Image, orientation: int, to_rgb: ToRgb) -> npt.NDArray[np.uint8]:
    """The pixels as they are looked at.

    Args:
        image: decoded, as stored.
        orientation: EXIF 2.32, section 4.6.4, 1 to 8; anything else counts as 1.
        to_rgb: called with one band after another, from the top.

    Returns:
        uint8 [height, width, 3], RGB, contiguous.
    """
    width, height = image.size
    return _upright(width, height, orientation, lambda top, bottom: to_rgb(image.crop((0, top, width, bottom))))


def upright_pixels(
    pixels: npt.NDArray[np.uint8], orientation: int, to_rgb: ToRgb | None = None
) -> npt.NDArray[np.uint8]:
    """As `upright_rgb`, of pixels that are RGB already, uint8 [height, width, 3]; to_rgb: of their colours, if any."""
    if to_rgb is None and orientation not in UPRIGHT:
        return pixels

    def band(top: int, bottom: int) -> npt.NDArray[np.uint8]:
        part = pixels[top:bottom]
        return part if to_rgb is None else to_rgb(Image.fromarray(part))

    return _upright(pixels.shape[1], pixels.shape[0], orientation, band)


def _upright(
    width: int, height: int, orientation: int, part: Callable[[int, int], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    turn = UPRIGHT.get(orientation)
    upright = np.empty((width, height, 3) if orientation in ON_SIDE else (height, width, 3), np.uint8)
    rows = max(BAND_PIXELS // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = part(top, bottom)
        if turn is not None:
            band = np.asarray(Image.fromarray(band).transpose(turn))
        first, last = (height - bottom, height - top) if orientation in _FROM_THE_END else (top, bottom)
        if orientation in ON_SIDE:
            upright[:, first:last] = band
        else:
            upright[first:last] = band
    return upright
