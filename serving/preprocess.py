"""From uint8 crops to a classifier's input tensor, by its manifest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.crop import RESAMPLING
from serving.models.backends.base import Rows
from serving.repository.manifest import Color, Encoding, InputSpec


def to_grey(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Luma of ITU-R BT.601 in 16-bit fixed point, rounded; grey pixels stay exactly what they are.

    Args:
        rgb: uint8 [..., 3].

    Returns:
        uint8 [...].
    """
    # Pillow's own formula, in C and without copies in 32 bits.
    if not rgb.size:
        return np.empty(rgb.shape[:-1], np.uint8)
    image = Image.fromarray(np.ascontiguousarray(rgb).reshape(-1, rgb.shape[-2], 3))
    return np.asarray(image.convert("L")).reshape(rgb.shape[:-1])


def prepare(crops: npt.NDArray[np.uint8], spec: InputSpec) -> Rows:
    """Colour rule, then resize rule, then normalisation where the graph does not do that itself.

    Args:
        crops: uint8 [N, height, width, 3], RGB.
        spec: the model's input as its manifest gives it.

    Returns:
        As `spec.encoding` says: float32 [N, C, spec.height, spec.width] or uint8 [N, spec.height, spec.width, C],
        contiguous.
    """
    pixels = to_grey(crops) if spec.color is Color.GREY else crops
    if pixels.shape[1:3] != (spec.height, spec.width):
        filter_ = RESAMPLING[spec.resize]
        resized = [np.asarray(Image.fromarray(p).resize((spec.width, spec.height), filter_)) for p in pixels]
        pixels = np.stack(resized) if resized else np.empty((0, spec.height, spec.width, *pixels.shape[3:]), np.uint8)
    return encode(pixels[..., None] if spec.color is Color.GREY else pixels, spec)


def encode(pixels: npt.NDArray[np.uint8], spec: InputSpec) -> Rows:
    """Pixels of the right colours and size, uint8 [N, height, width, C], as the model takes them."""
    return np.ascontiguousarray(pixels) if spec.encoding is Encoding.BYTES else normalise(pixels, spec)


def floats(rows: Rows, spec: InputSpec) -> npt.NDArray[np.float32]:
    """The model's input as its network computes on it: float32 [N, C, height, width]."""
    if spec.encoding is Encoding.BYTES:
        return normalise(np.asarray(rows, np.uint8), spec)
    return np.asarray(rows, np.float32)


def normalise(pixels: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.float32]:
    """What a network computes on, whether its graph makes it of bytes or not.

    Args:
        pixels: uint8 [N, height, width, C].
        spec: gives mean and std.

    Returns:
        float32 [N, C, height, width], contiguous: (pixel / 255 - mean) / std.
    """
    planes = pixels.transpose(0, 3, 1, 2)
    std = np.asarray(spec.std, np.float32).reshape(1, -1, 1, 1)
    mean = np.asarray(spec.mean, np.float32).reshape(1, -1, 1, 1)
    rows = np.empty(planes.shape, np.float32)
    np.multiply(planes, 1 / (255 * std), out=rows, dtype=np.float32)
    if mean.any():
        rows -= mean / std
    return rows
