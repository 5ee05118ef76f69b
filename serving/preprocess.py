"""From uint8 crops to a classifier's input tensor, by its manifest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images.crop import RESAMPLING
from serving.models.backends.base import Rows
from serving.repository.manifest import Color, Encoding, InputSpec

_TOGETHER_BYTES = 4 << 20
"""Of crops that are resized together, as Pillow holds them: four bytes for a pixel of colour."""


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
        pixels = _resize(pixels, spec)
    return encode(pixels[..., None] if spec.color is Color.GREY else pixels, spec)


def _resize(pixels: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Each picture of [N, height, width, ...] to the model's size, as Pillow resizes it alone."""
    n, height, width, *channels = pixels.shape
    how = RESAMPLING[spec.resize]
    if n > 1 and height == width and spec.height == spec.width:
        together = max(1, _TOGETHER_BYTES // (4 * max(height, spec.height) ** 2))
        groups = [pixels[at : at + together] for at in range(0, n, together)]
        return np.concatenate([_resize_squares(group, spec.width, how) for group in groups])
    resized = [np.asarray(Image.fromarray(p).resize((spec.width, spec.height), how)) for p in pixels]
    return np.stack(resized) if resized else np.empty((0, spec.height, spec.width, *channels), np.uint8)


def _resize_squares(pixels: npt.NDArray[np.uint8], side: int, how: Image.Resampling) -> npt.NDArray[np.uint8]:
    """All pictures in two calls of Pillow: each lets go of the interpreter's lock and may have to wait for it again.

    Pillow resizes a square along its rows, rounds, and resizes it along its columns. Here it does the first for all
    pictures below one another, and the second for all side by side. What is no square it may begin with the columns.
    """
    n, old, _, *channels = pixels.shape
    below = Image.fromarray(pixels.reshape(n * old, old, *channels)).resize((side, n * old), how)
    beside = np.asarray(below).reshape(n, old, side, *channels).swapaxes(0, 1)
    resized = Image.fromarray(beside.reshape(old, n * side, *channels)).resize((n * side, side), how)
    return np.asarray(resized).reshape(side, n, side, *channels).swapaxes(0, 1)


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
