"""Fits an image into a model's input, keeping its proportions, and takes boxes back out again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serving.images.crop import RESAMPLING
from serving.images.shrink import shrink
from serving.repository.manifest import InputSpec

PAD_VALUE = 114
"""Grey level of the padding; Ultralytics trains with it."""


@dataclass(frozen=True)
class Geometry:
    """Where an image lies in the letterboxed input: input pixel = image pixel * scale + pad, per axis.

    left, top: where it lies itself, if it is a part of a larger image: boxes are in pixels of that.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int
    left: float = 0.0
    top: float = 0.0

    def within(self, width: int, height: int, reduction: int, left: int, top: int) -> Geometry:
        """For an image of which a copy, `reduction` times smaller, has this one at `left` and `top`.

        Args:
            width, height: of that image, pixels.
            left, top: in pixels of the copy.
        """
        return replace(
            self,
            width=min(self.width * reduction, width - left * reduction),
            height=min(self.height * reduction, height - top * reduction),
            scale_x=self.scale_x / reduction,
            scale_y=self.scale_y / reduction,
            left=left * reduction,
            top=top * reduction,
        )

    def to_image(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes (x1, y1, x2, y2) from input pixels to pixels of the image, clipped to it: float32 [N, 4]."""
        shift = np.array([self.pad_x, self.pad_y, self.pad_x, self.pad_y], np.float32)
        scale = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], np.float32)
        limit = np.array([self.width, self.height, self.width, self.height], np.float32)
        origin = np.array([self.left, self.top, self.left, self.top], np.float32)
        return np.asarray(np.clip((boxes - shift) / scale, 0, limit) + origin, np.float32)


def smallest_frame(sizes: Sequence[tuple[int, int]], spec: InputSpec) -> tuple[int, int]:
    """The smallest frame in which images are seen as large as in the full one.

    Args:
        sizes: width and height of each image, pixels; none: the full frame.
        spec: of the detector's input.

    Returns:
        Width and height, one of `spec.frames`.
    """
    if not sizes:
        return spec.frames[0]
    scales = [min(spec.width / width, spec.height / height) for width, height in sizes]
    needed = [
        max(math.ceil(size[axis] * scale - 1e-6) for size, scale in zip(sizes, scales, strict=True)) for axis in (0, 1)
    ]
    fitting = (frame for frame in spec.frames if frame[0] >= needed[0] and frame[1] >= needed[1])
    return min(fitting, key=lambda frame: frame[0] * frame[1], default=spec.frames[0])


def letterbox(
    image: npt.NDArray[np.uint8], width: int, height: int, resize: str = "bilinear"
) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """Scales an image to touch the frame from inside, centred, on grey.

    Args:
        image: uint8 [h, w, 3], RGB.
        width, height: the frame, pixels.
        resize: a name of `serving.images.crop.RESAMPLING`; antialiased when it shrinks.

    Returns:
        uint8 [height, width, 3] and the geometry that leads back.

    Raises:
        ValueError: the image is not uint8 [h, w, 3] with at least one pixel.
    """
    frame = np.empty((height, width, 3), np.uint8)
    return frame, letterbox_into(frame, image, resize)


def letterbox_into(frame: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8], resize: str = "bilinear") -> Geometry:
    """As `letterbox`, into a frame that is there: uint8 [height, width, 3], filled whatever it held."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected uint8 [height, width, 3] with pixels, got {image.dtype} {list(image.shape)}")
    height, width = frame.shape[:2]
    image_height, image_width = image.shape[:2]
    scale = min(width / image_width, height / image_height)
    inner_width = min(max(round(image_width * scale), 1), width)
    inner_height = min(max(round(image_height * scale), 1), height)
    pad_x, pad_y = (width - inner_width) // 2, (height - inner_height) // 2
    if (inner_width, inner_height) != (image_width, image_height):
        image = shrink(image, inner_width, inner_height, RESAMPLING[resize])
    frame[:pad_y] = frame[pad_y + inner_height :] = PAD_VALUE
    frame[:, :pad_x] = frame[:, pad_x + inner_width :] = PAD_VALUE
    frame[pad_y : pad_y + inner_height, pad_x : pad_x + inner_width] = image
    return Geometry(image_width, image_height, inner_width / image_width, inner_height / image_height, pad_x, pad_y)
