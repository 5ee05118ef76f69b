"""Test-time augmentation: the same few views of every crop, judged in one batch and averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class View:
    """One deterministic view.

    Attributes:
        mirror: left and right swapped.
        degrees: rotation, counter-clockwise, around the centre; the edge is repeated outwards.
        gain: factor on every pixel value, rounded and clipped to [0, 255].
    """

    mirror: bool = False
    degrees: float = 0.0
    gain: float = 1.0


VIEWS = (View(), View(mirror=True), View(degrees=8), View(degrees=-8), View(gain=1.15))
"""The identity comes first: embeddings are read from it."""


def make_views(crops: npt.NDArray[np.uint8], views: tuple[View, ...] = VIEWS) -> npt.NDArray[np.uint8]:
    """Every view of every crop.

    Args:
        crops: uint8 [N, H, W, 3], RGB.
        views: what to make.

    Returns:
        uint8 [len(views), N, H, W, 3]; the same bytes for the same crops, always.
    """
    return np.stack([_view(crops, view) for view in views])


def mean_over_views(shares: npt.NDArray[np.float32], crops: int) -> npt.NDArray[np.float32]:
    """Averages probabilities over views.

    Args:
        shares: float32 [views * crops, K], all crops of the first view first, as `make_views` orders them.
        crops: how many crops there are, 1 or more; as many as rows: one view, returned as it is.

    Returns:
        float32 [crops, K].
    """
    if len(shares) == crops:
        return shares
    return np.asarray(shares.reshape(-1, crops, shares.shape[1]).mean(axis=0, dtype=np.float64), np.float32)


def _view(crops: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    if view.mirror:
        crops = crops[:, :, ::-1]
    if view.gain != 1:
        table = np.clip(np.rint(np.arange(256) * view.gain), 0, 255).astype(np.uint8)
        crops = table[crops]
    if view.degrees and len(crops):
        crops = np.stack([_rotate(crop, view.degrees) for crop in crops])
    return crops


def _rotate(crop: npt.NDArray[np.uint8], degrees: float) -> npt.NDArray[np.uint8]:
    height, width = crop.shape[:2]
    # Far enough that no corner of the rotated frame leaves the padded crop.
    pad = int(np.ceil(max(height, width) * abs(np.sin(np.radians(degrees))) / 2)) + 1
    padded = Image.fromarray(np.pad(crop, ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    turned = np.asarray(padded.rotate(degrees, Image.Resampling.BILINEAR))
    return turned[pad : pad + height, pad : pad + width]
