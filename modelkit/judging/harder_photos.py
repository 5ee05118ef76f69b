"""Photos made harder for a detector: faces of a few pixels, faces that fill the frame, darkness, turned pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelkit.data.photos import Photo
from modelkit.judging.detection import MIN_FACE, Detector, match
from modelkit.judging.harder import darker
from services.detector.letterbox import PAD_VALUE

Boxes = npt.NDArray[np.float32]

SHRUNK = 3
"""Photos are laid, so many times smaller, on a grey ground of their own size: a face of 30 to 72 px has 10 to 24."""

SMALL = ((10, 16), (16, 24))
"""Longer sides of small faces, from and below, pixels of a picture of the photo's size."""

FILLED = (0.6, 0.9)
"""Share of the frame's side that a face fills."""

LARGE = 64.0
"""Longer side in pixels of faces that frames are cut around."""

ROLLS = (20, 45, 90)
"""Degrees, counter-clockwise."""

LIGHTS = (0.25, 0.125, 0.0625)
"""What is left of the light."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture to find faces in.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        boxes: float32 [N, 4], of the faces that count.
        others: float32 [M, 4], places that count neither as found nor as missed.
    """

    image: npt.NDArray[np.uint8]
    boxes: Boxes
    others: Boxes


def judge_harder(detector: Detector, photos: Sequence[Photo]) -> dict[str, dict[str, Any]]:
    """Recall and precision of a detector, as it is served, on each kind of harder photo.

    Args:
        detector: a loaded one.
        photos: with the boxes that are true.

    Returns:
        Kind to `n_faces`, `recall` and `precision` at IoU 0.5; a kind without a face is left out.
    """
    found = {name: _judge(detector, scenes, least) for name, scenes, least in _kinds(photos)}
    return {name: figures for name, figures in found.items() if figures["n_faces"]}


def _kinds(photos: Sequence[Photo]) -> Iterator[tuple[str, Iterable[Scene], float]]:
    def each(make: Callable[[Photo], Iterable[Scene]]) -> Iterator[Scene]:
        return (scene for photo in photos for scene in make(photo))

    yield "as they are", each(as_it_is), MIN_FACE
    for low, high in SMALL:
        yield f"{low} to {high} px", each(partial(shrunk, low=low, high=high)), low
    for share in FILLED:
        yield f"face fills {share:g} of the frame", each(partial(framed, share=share)), MIN_FACE
    for degrees in ROLLS:
        yield f"turned by {degrees}°", each(partial(turned, degrees=degrees)), MIN_FACE
    for left in LIGHTS:
        yield f"light {left:g}", each(partial(dimmed, left=left)), MIN_FACE


def as_it_is(photo: Photo) -> Iterator[Scene]:
    """The photo itself."""
    yield Scene(np.asarray(photo.image()), photo.boxes, photo.unclear)


def shrunk(photo: Photo, low: float, high: float) -> Iterator[Scene]:
    """The photo `SHRUNK` times smaller, with its faces of `low` to `high` pixels (none: no scene)."""
    boxes, unclear = photo.boxes / np.float32(SHRUNK), photo.unclear / np.float32(SHRUNK)
    sides = _longer(boxes)
    counts = (sides >= low) & (sides < high)
    if counts.any():
        image = photo.image()
        canvas = Image.new("RGB", image.size, (PAD_VALUE,) * 3)
        canvas.paste(image.resize((max(1, image.width // SHRUNK), max(1, image.height // SHRUNK))), (0, 0))
        yield Scene(np.asarray(canvas), boxes[counts], np.concatenate([boxes[~counts], unclear]))


def framed(photo: Photo, share: float) -> Iterator[Scene]:
    """A frame for each face of `LARGE` pixels and more, that it fills to a share, as far as the photo reaches."""
    image = np.asarray(photo.image())
    size = np.array([image.shape[1], image.shape[0]], np.float32)
    for i in np.flatnonzero(_longer(photo.boxes) >= LARGE):
        box = photo.boxes[i]
        reach = float((box[2:] - box[:2]).max()) / share / 2
        middle = (box[:2] + box[2:]) / 2
        start, end = np.maximum(middle - reach, 0).astype(int), np.minimum(middle + reach, size).astype(int)
        others = np.concatenate([np.delete(photo.boxes, i, axis=0), photo.unclear])
        window = image[start[1] : end[1], start[0] : end[0]]
        yield Scene(window, _within(box[None], start, end), _within(others, start, end))


def turned(photo: Photo, degrees: float) -> Iterator[Scene]:
    """The photo turned counter-clockwise on a grey ground; a face's box is that of the ellipse which fills it."""
    image = photo.image()
    around = image.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor=(PAD_VALUE,) * 3)
    old, new = np.array(image.size) / 2, np.array(around.size) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def turn(boxes: Boxes) -> Boxes:
        middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2 - old, (boxes[:, 2:] - boxes[:, :2]) / 2
        moved = np.stack([middle[:, 0] * cos + middle[:, 1] * sin, middle[:, 1] * cos - middle[:, 0] * sin], 1) + new
        reach = np.stack(
            [np.hypot(half[:, 0] * cos, half[:, 1] * sin), np.hypot(half[:, 0] * sin, half[:, 1] * cos)], 1
        )
        return np.concatenate([moved - reach, moved + reach], axis=1).astype(np.float32)

    yield Scene(np.asarray(around), turn(photo.boxes), turn(photo.unclear))


def dimmed(photo: Photo, left: float) -> Iterator[Scene]:
    """The photo with a share of its light, and a sensor's noise."""
    yield Scene(darker(np.asarray(photo.image()), left), photo.boxes, photo.unclear)


def _judge(detector: Detector, scenes: Iterable[Scene], least: float) -> dict[str, Any]:
    faces = hits = found = 0
    for scene in scenes:
        (seen,) = detector.detect([scene.image])
        matches = match(seen, scene.boxes, scene.others, least)
        faces, hits, found = faces + matches.n_faces, hits + int(matches.hits.sum()), found + len(matches.hits)
    return {"n_faces": faces, "recall": hits / max(faces, 1), "precision": hits / found if found else 0.0}


def _longer(boxes: Boxes) -> Boxes:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0))


def _within(boxes: Boxes, start: npt.NDArray[np.intp], end: npt.NDArray[np.intp]) -> Boxes:
    """What of the boxes lies in a window, in its pixels; those that do not reach into it are gone."""
    low = np.maximum(boxes.reshape(-1, 2, 2)[:, 0], start)
    high = np.minimum(boxes.reshape(-1, 2, 2)[:, 1], end)
    seen = (high > low).all(axis=1)
    return np.concatenate([low[seen] - start, high[seen] - start], axis=1).astype(np.float32)
