"""From a face box to the square crop that classifiers see. Evaluation and serving both use this code."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.shrink import reduce_pixels

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

MAX_SHRINK = 8
"""Squares more than this many times their crop's side are shrunk by a whole factor before they are resampled."""


def crop_square(box: npt.NDArray[np.float32], margin: float) -> tuple[float, float, float, float]:
    """The square around `box` (x1, y1, x2, y2, pixels): same centre, side = longer side * (1 + 2 * margin)."""
    x1, y1, x2, y2 = (float(v) for v in box)
    half = crop_side(box, margin) / 2
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    return cx - half, cy - half, cx + half, cy + half


def crop_side(box: npt.NDArray[np.float32], margin: float) -> float:
    """The side of that square, pixels."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * margin)


def cut_crops(
    image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], size: int, margin: float
) -> npt.NDArray[np.uint8]:
    """Cuts one square crop per box; what lies outside the image repeats its edge.

    Args:
        image: uint8 [height, width, 3], RGB.
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels of `image`.
        size: side of the crops in pixels.
        margin: share of the squared box's side added on each side.

    Returns:
        uint8 [N, size, size, 3], RGB, bilinear, antialiased when it shrinks.
    """
    crops = np.zeros((len(boxes), size, size, 3), np.uint8)
    for i, box in enumerate(boxes):
        square = _cut(image, crop_square(box, margin), size)
        if square is not None:
            crops[i] = square
    return crops


def _cut(
    image: npt.NDArray[np.uint8], square: tuple[float, float, float, float], size: int
) -> npt.NDArray[np.uint8] | None:
    """The square at `size`, or None where it lies outside the image altogether."""
    # One pixel beyond the square on each side, so that the filter sees its neighbours.
    left, top = max(math.floor(square[0]) - 1, 0), max(math.floor(square[1]) - 1, 0)
    region = image[top : max(math.ceil(square[3]) + 1, 0), left : max(math.ceil(square[2]) + 1, 0)]
    if region.size == 0:
        return None
    # A square many times larger than its crop is first shrunk by a whole factor: quicker, and no padding can be huge.
    factor = max(1, int((square[2] - square[0]) / (size * MAX_SHRINK)))
    if factor > 1:
        region = reduce_pixels(region, factor, factor)
    x1, y1, x2, y2 = ((v - origin) / factor for v, origin in zip(square, (left, top, left, top), strict=True))
    rows, columns = region.shape[:2]
    before_x, before_y = max(math.ceil(-x1), 0), max(math.ceil(-y1), 0)
    after_x, after_y = max(math.ceil(x2 - columns), 0), max(math.ceil(y2 - rows), 0)
    if before_x or before_y or after_x or after_y:
        region = np.pad(region, ((before_y, after_y), (before_x, after_x), (0, 0)), mode="edge")
    window = (x1 + before_x, y1 + before_y, x2 + before_x, y2 + before_y)
    return np.asarray(Image.fromarray(region).resize((size, size), Image.Resampling.BILINEAR, box=window))
