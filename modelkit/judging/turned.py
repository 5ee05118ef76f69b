"""How far heads are turned, as far as YuNet's landmarks show it: where the nose lies between the eyes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelkit.detector.yunet import YuNet

FACE, CANVAS = 96, 160
"""A crop is enlarged to FACE pixels and laid into the middle of a grey square of CANVAS: YuNet wants surroundings."""

LEAST = 0.5
"""Score from which YuNet's landmarks count."""

FACING, TURNED = 0.15, 0.3
"""Distance of the nose's tip from the middle of the eyes, in distances of the eyes, along the line through them: heads
up to FACING look at the camera (about 15 degrees), those from TURNED on look past it (about 30 and more)."""


def turns(crops: Sequence[npt.NDArray[np.uint8]], yunet: Path, threads: int = 1) -> npt.NDArray[np.float32]:
    """How far each head is turned to either side.

    Args:
        crops: N of them, uint8 [s, s, 3], RGB, of a face each.
        yunet: its ONNX file.
        threads: of its runtime.

    Returns:
        float32 [N], 0 and more; NaN where YuNet finds no face.
    """
    seeker = YuNet(yunet, threads)
    return np.array([_turn(seeker.landmarks(_framed(crop), LEAST)) for crop in crops], np.float32)


def by_turn(turned: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks of the groups that occur; turned is float32 [N], NaN where it is not known."""
    known = np.isfinite(turned)
    masks = {
        "facing": known & (turned < FACING),
        "half turned": known & (turned >= FACING) & (turned < TURNED),
        "turned": known & (turned >= TURNED),
        "not measured": ~known,
    }
    return {name: mask for name, mask in masks.items() if mask.any()}


def _framed(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    canvas = np.full((CANVAS, CANVAS, 3), 128, np.uint8)
    edge = (CANVAS - FACE) // 2
    canvas[edge : edge + FACE, edge : edge + FACE] = np.asarray(Image.fromarray(crop).resize((FACE, FACE)))
    return canvas


def _turn(points: npt.NDArray[np.float32] | None) -> float:
    if points is None:
        return float("nan")
    right, left, nose = points[:3]
    across = left - right
    apart = float(across @ across)
    if apart == 0:
        return float("nan")
    return abs(float((nose - (right + left) / 2) @ across)) / apart
