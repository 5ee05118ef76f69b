"""What cameras, thumbnails and codecs do to a face before it is cut out, a whole batch at a time."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 8

# Luminance table of ITU-T T.81 (JPEG), annex K.1.
_LUMINANCE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)


def equalized(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Each picture with its histogram spread evenly over 0..255, as some collections and cameras give faces.

    Args:
        images: uint8 [N, H, W], grey.

    Returns:
        uint8 [N, H, W]; a picture of one single tone stays as it is.
    """
    result = np.empty_like(images)
    for row, image in enumerate(images):
        counts = np.bincount(image.ravel(), minlength=256)
        total = counts.cumsum()
        first = counts[np.flatnonzero(counts)[0]]
        span = image.size - first
        table = np.round((total - first) * (255 / span)).clip(0, 255) if span else np.arange(256)
        result[row] = table.astype(np.uint8)[image]
    return result


def shrunk(images: Tensor, sides: Tensor) -> Tensor:
    """Each picture made smaller, by the mean of areas, and enlarged again.

    Args:
        images: float32 [B, 1, S, S].
        sides: int64 [B], pixels; S or more leaves a picture as it is.

    Returns:
        float32 [B, 1, S, S].
    """
    result, size = images.clone(), images.shape[-1]
    for side in sides.unique().tolist():
        if side >= size:
            continue
        rows = (sides == side).nonzero()[:, 0]
        small = functional.interpolate(images[rows], (side, side), mode="bilinear", antialias=True)
        result[rows] = functional.interpolate(small, (size, size), mode="bilinear")
    return result


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Each picture after JPEG's luminance quantisation, in blocks of 8 x 8.

    Args:
        images: float32 [B, 1, S, S] in [0, 1], S a multiple of 8.
        quality: float32 [B], as libjpeg counts it, 1 to 100; 100 and more leaves a picture as it is.

    Returns:
        float32 [B, 1, S, S] in [0, 1].
    """
    count, size = len(images), images.shape[-1]
    basis = _cosines().to(images.device)
    scale = torch.where(quality < 50, 5000 / quality.clamp(min=1), 200 - 2 * quality) / 100
    table = (_LUMINANCE.to(images.device) * scale.view(-1, 1, 1)).round().clamp(1, 255).view(count, 1, 1, BLOCK, BLOCK)
    side = size // BLOCK
    blocks = (images * 255 - 128).view(count, side, BLOCK, side, BLOCK).permute(0, 1, 3, 2, 4)
    waves = basis @ blocks @ basis.T
    blocks = basis.T @ ((waves / table).round() * table) @ basis
    result = blocks.permute(0, 1, 3, 2, 4).reshape(count, 1, size, size).add(128).round().div(255).clamp(0, 1)
    return torch.where((quality < 100).view(-1, 1, 1, 1), result, images)


def _cosines() -> Tensor:
    """The orthonormal matrix of the discrete cosine transform (type 2) of 8 numbers."""
    k, n = torch.arange(BLOCK).view(-1, 1), torch.arange(BLOCK).view(1, -1)
    rows = torch.cos(math.pi * (2 * n + 1) * k / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows
