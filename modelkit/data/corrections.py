"""Faces that the photos' labels leave out, looked up by eye, as a list of boxes by the photos' names.

Looked at was every detection of YuNet (score 0.5 or more) and of the default detector of 2026-11-28 that overlaps no
label by half. Of those 20 pixels or larger, people's faces are `faces`, and what may be one, too blurred or too hidden
to say, is `unclear`. Labels that are there stay as they are, also where they frame a face loosely.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelkit.data.photos import Photo

ADDITIONS = Path(__file__).with_name("additions.json")


def corrected(photos: Sequence[Photo], additions: Path = ADDITIONS) -> list[Photo]:
    """The photos with the list's boxes added; whether an added face wears a mask is not known, so it counts as one.

    Args:
        photos: of any collection; those that the list does not name stay as they are.
        additions: JSON, a photo's name to `faces` and `unclear`, each a list of x1, y1, x2, y2 in pixels.
    """
    known = json.loads(additions.read_text())
    return [_with_more(photo, known[photo.name]) if photo.name in known else photo for photo in photos]


def _with_more(photo: Photo, more: dict[str, list[list[float]]]) -> Photo:
    faces = _boxes(more.get("faces", []))
    return replace(
        photo,
        boxes=np.concatenate([photo.boxes, faces]),
        unmasked=np.concatenate([photo.unmasked, np.zeros(len(faces), bool)]),
        unclear=np.concatenate([photo.unclear, _boxes(more.get("unclear", []))]),
    )


def _boxes(rows: list[list[float]]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)
