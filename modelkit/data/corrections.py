"""Labels of the photos that are wrong, looked up by eye: missing faces, boxes that do not frame one, no faces.

Every labelled face of faces/validation of 21 pixels or more was looked at without any detector's box beside it; those
that YuNet frames otherwise (IoU below 0.6), and those that looked wrong, once more, enlarged. A box that misses much of
its face, or holds much else, is replaced by one drawn from the picture: from the forehead, or what hair and hat leave
of it, to the chin, across what is seen of the face. Missing ones were sought among the detections of YuNet (score 0.5
or more) and of the default detector that overlap no label by half, and once more without any detector: all photos were
looked at with nothing but the labels drawn, crowds enlarged. A person's face of which half or more is seen is one
of `faces`; what is too blurred, too dark or too hidden to say is `unclear`, and counts neither as found nor as missed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import DataError
from modelkit.data.photos import Photo

CORRECTIONS = Path(__file__).with_name("corrections.json")
KINDS = ("faces", "unclear", "replaced", "removed")
SAME = 1.0
"""A label is meant whose four numbers differ by no more than this (pixels): the list holds whole numbers."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Correction:
    """What is wrong with one photo's labels; boxes are x1, y1, x2, y2 in pixels.

    Attributes:
        faces: missing ones.
        unclear: places where nobody can say whether there is a face.
        replaced: a label, and the box that its face has.
        removed: labels that frame no face.
    """

    faces: tuple[Box, ...] = ()
    unclear: tuple[Box, ...] = ()
    replaced: tuple[tuple[Box, Box], ...] = field(default=())
    removed: tuple[Box, ...] = ()

    def apply(self, photo: Photo) -> Photo:
        """The photo with its labels corrected; of an added face it is not known whether it wears a mask, so it does.

        Raises:
            DataError: a label that is to be replaced or removed is not there, or is named twice.
        """
        boxes, unmasked = photo.boxes.copy(), photo.unmasked
        touched: set[int] = set()
        for label, face in self.replaced:
            boxes[_place(photo, label, touched)] = face
        gone = [_place(photo, label, touched) for label in self.removed]
        boxes, unmasked = np.delete(boxes, gone, axis=0), np.delete(unmasked, gone)
        return replace(
            photo,
            boxes=np.concatenate([boxes, _array(self.faces)]),
            unmasked=np.concatenate([unmasked, np.zeros(len(self.faces), bool)]),
            unclear=np.concatenate([photo.unclear, _array(self.unclear)]),
        )


def corrected(photos: Sequence[Photo], corrections: Path = CORRECTIONS) -> list[Photo]:
    """The photos with the list's corrections made.

    Args:
        photos: of any collection; those that the list does not name stay as they are.
        corrections: see `read_corrections`.

    Raises:
        DataError: the list is none, or speaks of a label that a photo does not have.
    """
    known = read_corrections(corrections)
    return [known[photo.name].apply(photo) if photo.name in known else photo for photo in photos]


def read_corrections(file: Path = CORRECTIONS) -> dict[str, Correction]:
    """Reads a list of corrections, by the photos' names.

    Args:
        file: JSON, a photo's name to `faces`, `unclear` and `removed`, each a list of boxes [x1, y1, x2, y2], and
            `replaced`, a list of {"label": box, "face": box}; each may be missing.

    Raises:
        DataError: it cannot be read, or holds something else; the message names photo and field.
    """
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is not a readable JSON file: {error}") from error
    if not isinstance(told, dict):
        raise DataError(f"{file} must map names of photos to corrections")
    return {name: _correction(f"{file}: {name}", fields) for name, fields in told.items()}


def _correction(where: str, fields: Any) -> Correction:
    if not isinstance(fields, dict) or not set(fields) <= set(KINDS):
        raise DataError(f"{where} must hold nothing but {', '.join(KINDS)}")
    for kind, rows in fields.items():
        if not isinstance(rows, list):
            raise DataError(f"{where}: {kind} must be a list")
    pairs = fields.get("replaced", [])
    if not all(isinstance(pair, dict) and set(pair) == {"label", "face"} for pair in pairs):
        raise DataError(f"{where}: each of replaced must hold a label and a face")
    simple = {
        kind: tuple(_box(f"{where}: {kind}", row) for row in fields.get(kind, []))
        for kind in KINDS
        if kind != "replaced"
    }
    at = f"{where}: replaced"
    return Correction(**simple, replaced=tuple((_box(at, pair["label"]), _box(at, pair["face"])) for pair in pairs))


def _box(where: str, row: Any) -> Box:
    good = isinstance(row, list) and len(row) == 4 and all(type(value) in (int, float) for value in row)
    if not good or not np.isfinite(row).all() or min(row) < 0 or row[2] <= row[0] or row[3] <= row[1]:
        raise DataError(f"{where} holds {row!r}, which is no box [x1, y1, x2, y2] in pixels")
    return (row[0], row[1], row[2], row[3])


def _place(photo: Photo, label: Box, touched: set[int]) -> int:
    far = np.abs(photo.boxes - np.array(label, np.float32)).max(axis=1)
    free = [int(i) for i in np.argsort(far) if far[i] <= SAME and int(i) not in touched]
    if not free:
        raise DataError(f"photo {photo.name!r} has no label {list(label)} that is still to be corrected")
    touched.add(free[0])
    return free[0]


def _array(boxes: Sequence[Box]) -> npt.NDArray[np.float32]:
    return np.array(boxes, np.float32).reshape(-1, 4)
