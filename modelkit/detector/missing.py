"""Faces that the training photos' labels leave out, filled in by another detector where it is sure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelkit.data.photos import Photo
from services.detector.nms import iou

SURE = 0.65
"""On faces/validation, about 85 of 100 of YuNet's detections of 0.6 or more that match no label are people."""

UNSURE = 0.35
"""YuNet's detections from here to `SURE` are as often people as not: the detector learns nothing there."""

APART = 0.1
"""A found box that shares more than this with a labelled one (intersection over union) is taken for the same face."""


class FaceFinder(Protocol):
    """See `modelkit.detector.yunet.YuNet`."""

    def find(
        self, image: npt.NDArray[np.uint8], least: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Boxes and scores of an RGB photo's faces whose score is `least` or more."""


def filled(photos: Iterable[Photo], detector: FaceFinder, sure: float = SURE) -> list[Photo]:
    """The photos with what the detector finds beside the labelled faces; photos labelled as empty stay empty.

    Whether an added face wears a mask is not known, so it counts as one. What is found with less certainty, but
    `UNSURE` or more, becomes an unclear place.
    """
    return [_filled(photo, detector, sure) if len(photo.boxes) else photo for photo in photos]


def _filled(photo: Photo, detector: FaceFinder, sure: float) -> Photo:
    boxes, scores = detector.find(np.asarray(photo.image()), UNSURE)
    new = np.array([not _known(box, photo.boxes) for box in boxes], bool)
    added, unclear = boxes[new & (scores >= sure)], boxes[new & (scores < sure)]
    return replace(
        photo,
        boxes=np.concatenate([photo.boxes, added]),
        unmasked=np.concatenate([photo.unmasked, np.zeros(len(added), bool)]),
        unclear=np.concatenate([photo.unclear, unclear]),
        filled_in=len(added),
    )


def _known(box: npt.NDArray[np.float32], labelled: npt.NDArray[np.float32]) -> bool:
    centre = (box[:2] + box[2:]) / 2
    inside = ((labelled[:, :2] <= centre) & (centre <= labelled[:, 2:])).all(axis=1)
    return bool(inside.any() or (iou(box, labelled) > APART).any())
