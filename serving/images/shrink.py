"""Resizes pixels; by whole factors band by band, since Pillow would first copy them all into an image of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

try:
    import cykooz_resizer as simd
except ImportError:  # there is no build of it for Linux on ARM
    simd = None

_FILTERS = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "catmull_rom"}
_BAND_PIXELS = 1 << 18


def reduce_pixels(pixels: npt.NDArray[np.uint8], factor_x: int, factor_y: int) -> npt.NDArray[np.uint8]:
    """The mean of every block of `factor_x` by `factor_y` pixels, as `PIL.Image.Image.reduce` has it.

    Args:
        pixels: uint8 [height, width, 3], RGB, with at least one pixel.
        factor_x, factor_y: 1 or more; blocks at the right and at the bottom may be cut off.
    """
    height, width = pixels.shape[:2]
    if factor_x == factor_y == 1:
        return pixels
    reduced = np.empty((-(-height // factor_y), -(-width // factor_x), 3), np.uint8)
    rows = max(_BAND_PIXELS // (width * factor_y), 1)
    for top in range(0, len(reduced), rows):
        band = Image.fromarray(pixels[top * factor_y : (top + rows) * factor_y])
        reduced[top : top + rows] = np.asarray(band.reduce((factor_x, factor_y)))
    return reduced


def resize(
    pixels: npt.NDArray[np.uint8],
    width: int,
    height: int,
    resample: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.uint8]:
    """Resized as by `PIL.Image.Image.resize`, antialiased when it shrinks, but several times as fast where
    `cykooz_resizer` is installed; its levels differ from Pillow's by 3 of 255 at most, nearly all by none.

    Args:
        pixels: uint8 [height, width, 3], with at least one pixel.
        width, height: in pixels.
        resample: the filter.
        box: the part to resize, left, top, right and bottom in pixels, inside the image; None: all of it.
    """
    kind = _FILTERS.get(resample)
    if simd is None or kind is None:
        return np.asarray(Image.fromarray(pixels).resize((width, height), resample, box=box))
    rows, columns = pixels.shape[:2]
    crop = None
    if box is not None:
        left, top, right, bottom = box
        crop = simd.CropBox(left, top, min(right - left, columns - left), min(bottom - top, rows - top))
    rgb = simd.PixelType.U8x3
    source, target = simd.ImageData(columns, rows, rgb, pixels.tobytes()), simd.ImageData(width, height, rgb)
    way = simd.ResizeAlg.convolution(simd.FilterType[kind])
    simd.Resizer().resize(source, target, simd.ResizeOptions(way, use_alpha=False, crop_box=crop))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


def shrink(pixels: npt.NDArray[np.uint8], width: int, height: int, resample: Image.Resampling) -> npt.NDArray[np.uint8]:
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
    return resize(reduced, width, height, resample, box=(0, 0, columns / factor_x, rows / factor_y))
