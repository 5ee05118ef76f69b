"""Puts a grey expression crop into a colour photo: over a photographed face, or as a new face at a free place."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelkit.data.framing import box_of_crop, crop_of_box

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@functools.lru_cache(maxsize=1024)
def ellipse(side: int) -> npt.NDArray[np.float32]:
    """A soft elliptic mask, float32 [side, side, 1] in [0, 1], over the face in a crop of that many pixels."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / max(side - 1, 1)
    radius = np.sqrt(((x - 0.5) / 0.46) ** 2 + ((y - 0.52) / 0.54) ** 2)
    return np.clip((1.0 - radius) / 0.22, 0, 1).astype(np.float32)[..., None]


def resized(
    crop: npt.NDArray[np.uint8], side: int, rng: np.random.Generator, turn: float = 0.0
) -> npt.NDArray[np.float32]:
    """The crop at `side` pixels, mirrored half of the time and turned by up to `turn` degrees: float32 [side, side]."""
    image = Image.fromarray(crop if rng.random() < 0.5 else np.ascontiguousarray(crop[:, ::-1]))
    if turn:
        fill = int(crop.mean())
        image = image.rotate(rng.uniform(-turn, turn), Image.Resampling.BILINEAR, fillcolor=fill)
    filter_ = Image.Resampling.BICUBIC if rng.random() < 0.7 else Image.Resampling.BILINEAR
    return np.asarray(image.resize((side, side), filter_), np.float32)


def _window(
    canvas: npt.NDArray[np.uint8], left: int, top: int, side: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Slices (of the canvas, of the crop) where a square at (left, top) overlaps the canvas; None if it does not."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x1 >= x2 or y1 >= y2:
        return None
    return (slice(y1, y2), slice(x1, x2)), (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def replace_face(
    canvas: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], crop: npt.NDArray[np.uint8], rng: np.random.Generator
) -> None:
    """Blends `crop` over the face in `box` in place; brightness, contrast and tint follow the face that was there.

    Args:
        canvas: uint8 [H, W, 3], RGB, changed in place.
        box: float32 [4], x1, y1, x2, y2, pixels; stays the face's box.
        crop: uint8 [48, 48], grey.
        rng: draws the mirroring, a turn of up to 10 degrees and the strength of the matching.
    """
    left, top, side = (round(v) for v in crop_of_box(box))
    window = _window(canvas, left, top, side)
    if window is None:
        return
    on_canvas, on_crop = window
    there = canvas[on_canvas].astype(np.float32)
    # The upper half of a face shows skin even where a mask covers the rest.
    x1, y1, x2, y2 = np.clip(box, 0, None).astype(int)
    skin = canvas[y1 : max((y1 + y2) // 2, y1 + 1), x1 : max(x2, x1 + 1)].reshape(-1, 3).astype(np.float32)
    if not len(skin):
        return
    colour = skin.mean(0)
    luma = skin @ LUMA
    face = resized(crop, side, rng, turn=10)
    match = rng.uniform(0.3, 1.0)
    spread = (1 - match) * face.std() + match * float(luma.std()) * rng.uniform(1.0, 1.6)
    mean = (1 - match) * face.mean() + match * float(luma.mean())
    face = (face - face.mean()) / (face.std() + 1.0) * max(spread, 18.0) + mean
    tint = colour / max(float(colour @ LUMA), 8.0)
    tint = 1 + (np.clip(tint, 0.4, 1.8) - 1) * rng.uniform(0.5, 1.1)
    alpha = ellipse(side)[on_crop]
    canvas[on_canvas] = np.clip(there * (1 - alpha) + face[on_crop][..., None] * tint * alpha, 0, 255).astype(np.uint8)


def paste_face(
    canvas: npt.NDArray[np.uint8],
    square: tuple[int, int, int],
    crop: npt.NDArray[np.uint8],
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Pastes `crop` as a new face, square or cut out by a soft ellipse, grey or skin-tinted; in place.

    Args:
        canvas: uint8 [H, W, 3], RGB, changed in place.
        square: left, top, side in pixels; it must overlap the canvas.
        crop: uint8 [48, 48], grey.
        rng: draws how.

    Returns:
        float32 [4]: the face's box, x1, y1, x2, y2, in the photographed faces' convention.
    """
    left, top, side = square
    window = _window(canvas, left, top, side)
    if window is None:
        raise ValueError(f"a square of {side} px at ({left}, {top}) lies outside the {canvas.shape[:2]} canvas")
    on_canvas, on_crop = window
    face = (resized(crop, side, rng) - 128) * rng.uniform(0.5, 1.1) + 128 + rng.uniform(-30, 30)
    tint = np.ones(3, np.float32)
    if rng.random() < 0.5:
        tint = np.array([rng.uniform(1.0, 1.35), 1.0, rng.uniform(0.6, 1.0)], np.float32)
    pixels = face[on_crop][..., None] * tint
    if rng.random() < 0.5:
        alpha = ellipse(side)[on_crop]
        pixels = canvas[on_canvas] * (1 - alpha) + pixels * alpha
    canvas[on_canvas] = np.clip(pixels, 0, 255).astype(np.uint8)
    return box_of_crop(left, top, side)
