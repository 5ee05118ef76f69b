"""What a detector's first look at a smaller copy does to answers: labelled crops in photos that have no face."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.data.photos import Photo
from modelkit.detector.composites import paste_face
from modelkit.judging.detection import Detector
from modelkit.judging.harder import HarderCrops
from modelkit.judging.metrics import expression_metrics
from modelkit.judging.pictures import spread
from services.detector.engine import DetectedFace
from services.detector.nms import iou
from services.ensembler.recipe import Recipe
from serving.expressions import EXPRESSIONS
from serving.images.crop import cut_crops

SMALLEST, LARGEST = 48, 0.9
"""Side of a crop in its photo: from so many pixels to this share of the photo's shorter side."""
NEAR = 0.3
"""IoU from which a face that was found counts as the one that was put there."""

Vote = Callable[[Sequence[npt.NDArray[np.uint8]]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Scene:
    """A picture, uint8 [H, W, 3], and the box of the face that was put into it, float32 [4]."""

    image: npt.NDArray[np.uint8]
    box: npt.NDArray[np.float32]


@dataclass(slots=True)
class _Told:
    """Of one way of looking: scenes whose face was found, their crops, how well boxes fit, the detector's opinions."""

    rows: list[int]
    crops: list[npt.NDArray[np.uint8]]
    overlaps: list[float]
    opinions: npt.NDArray[np.float32]

    def add(self, row: int, scene: _Scene, faces: list[DetectedFace], recipe: Recipe) -> None:
        """The face that was put there, if it is among these."""
        overlaps = iou(scene.box, np.array([face.box for face in faces], np.float32).reshape(-1, 4))
        if not len(overlaps) or overlaps.max() <= NEAR:
            return
        face = faces[int(overlaps.argmax())]
        self.rows.append(row)
        self.overlaps.append(float(overlaps.max()))
        self.crops.append(cut_crops(scene.image, face.box[None], recipe.crop_size, recipe.crop_margin)[0])
        if face.probabilities is not None:
            self.opinions[row] = face.probabilities

    def figures(self, vote: Vote, truth: npt.NDArray[np.int64]) -> dict[str, Any]:
        answers = np.full((len(truth), len(EXPRESSIONS)), np.nan, np.float32)
        if self.rows:
            answers[self.rows] = vote(self.crops)
        return {
            "found": len(self.rows) / len(truth),
            "iou": float(np.mean(self.overlaps)) if self.rows else 0.0,
            "accuracy": expression_metrics(answers, truth)["accuracy"],
            "detector_accuracy": expression_metrics(self.opinions, truth)["accuracy"],
        }


def judge_first_looks(
    detector: Detector, recipe: Recipe, vote: Vote, *, photos: Sequence[Photo], crops: HarderCrops, count: int
) -> dict[str, Any]:
    """Answers about the same pictures, looked at closely, and with a first look where that is enough.

    Each picture is a photo without faces, into which a labelled crop is put, of any size and at any place.

    Args:
        detector: one that has first looks.
        recipe: how crops are cut.
        vote: what the classifiers say of crops, float32 [N, 7].
        photos: those with faces are left out.
        crops: faces, and what they show.
        count: pictures, at most as many as there are crops.

    Returns:
        `n`, `clear` (the share for which the first look was enough), and for `closely` and `first`: `found` and `iou`
        of the face, `accuracy` of the vote and `detector_accuracy`, a face that is not found being wrong. Empty where
        every photo has faces, or is too small for one.
    """
    rows = spread(len(crops.truth), count)
    truth = crops.truth[rows]
    ways = {
        way: _Told([], [], [], np.full((len(truth), len(EXPRESSIONS)), np.nan, np.float32))
        for way in ("closely", "first")
    }
    clear = 0
    empty = [photo for photo in photos if not len(photo.boxes) and not len(photo.unclear)]
    empty = [photo for photo in empty if min(photo.image().size) * LARGEST > SMALLEST]
    if not empty or not rows:
        return {}
    for row, scene in enumerate(_scenes(empty, [crops.crops[i] for i in rows])):
        (close,) = detector.detect([scene.image])
        first = detector.look_first(scene.image)
        clear += first is not None
        for told, faces in zip(ways.values(), (close, close if first is None else first), strict=True):
            told.add(row, scene, faces, recipe)
    return {"n": len(truth), "clear": clear / len(truth)} | {
        way: told.figures(vote, truth) for way, told in ways.items()
    }


def _scenes(photos: Sequence[Photo], crops: Sequence[npt.NDArray[np.uint8]]) -> Iterator[_Scene]:
    """The same ones each time."""
    rng = np.random.default_rng(7)
    for index, crop in enumerate(crops):
        image = np.array(photos[index % len(photos)].image())
        height, width = image.shape[:2]
        side = int(rng.uniform(SMALLEST, LARGEST * min(height, width)))
        square = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1)), side
        yield _Scene(image, paste_face(image, square, crop[..., 1], rng))
