"""Whole photos judged end to end: the detector seeks the faces, and classifiers see the crops that it cuts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from modelkit.data.expressions import DataError
from modelkit.judging.detection import BATCH, MATCH_IOU, Detector
from modelkit.judging.pictures import Collector, Names, NoPictureError, Pictures, counted, decoded, spread
from modelkit.judging.sources import (
    check_row,
    class_folder,
    find_crops,
    no_pictures,
    picture_of,
    pictures_of,
    read_file,
    read_table,
    shown,
)
from services.detector.engine import DetectedFace
from services.detector.nms import iou
from services.ensembler.recipe import Recipe
from serving.expressions import EXPRESSIONS, INDEX
from serving.images.crop import cut_crops

FACE_LABEL = "face_label"
BOXES = "boxes_xyxy"
Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and what its faces show.

    Attributes:
        name: of the photo.
        encoded: its bytes; None where there are none.
        boxes: float32 [F, 4], x1, y1, x2, y2 in pixels; None: the largest face that is found.
        labels: F of them, index into `serving.expressions.EXPRESSIONS`.
    """

    name: str
    encoded: bytes | None
    boxes: Boxes | None
    labels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Whole:
    """Labelled faces of whole photos, as callers would meet them.

    Attributes:
        pictures: N faces; the crop is the detector's, and where it found none, the label's (or the whole photo).
        found: bool [N].
        told: float32 [N, 7], the detector's own opinion; NaN where it has none.
    """

    pictures: Pictures
    found: npt.NDArray[np.bool_]
    told: npt.NDArray[np.float32]


def has_faces(data: Path) -> bool:
    """Whether `data` is a Parquet file of photos with an expression for each box."""
    try:
        return data.is_file() and {BOXES, FACE_LABEL} <= set(pq.read_schema(data).names)
    except (OSError, ValueError):
        return False


def read_whole(data: Path, split: str, detector: Detector, recipe: Recipe, limit: int | None = None) -> Whole:
    """Seeks the labelled faces of photos.

    Args:
        data: a Parquet file with `name`, `image`, `boxes_xyxy` and `face_label` (one of 0..6, or none, for each box);
            or pictures as `modelkit.judging.sources.read_pictures` takes them, where the largest face of each counts.
        split: as there.
        detector: seeks them.
        recipe: says how crops are cut.
        limit: photos, evenly spread over all; None: all.

    Raises:
        DataError: there are no such photos, or a row is none.
    """
    left_out: list[str] = []
    photos = _once(_labelled(data, limit) if has_faces(data) else _single(data, split, limit, left_out), data, left_out)
    collector, found, told = Collector(recipe.crop_size), [], []
    unreadable: list[str] = []
    for some in _decoded(photos, unreadable, data, strict=not data.is_dir() or class_folder(data, split) is None):
        images = [image for _, image in some]
        for (whole, image), faces in zip(some, detector.detect(images), strict=True):
            photo = _inside(whole, image, data)
            boxes, matched = _matched(photo, faces, image)
            crops = cut_crops(image, boxes, recipe.crop_size, recipe.crop_margin)
            seen = hashlib.sha256(photo.encoded or b"").hexdigest()
            asked = boxes if photo.boxes is None else photo.boxes
            for crop, label, box, face in zip(crops, photo.labels, asked, matched, strict=True):
                size = float((box[2:] - box[:2]).max())
                key = seen if photo.boxes is None else f"{seen} {box.tolist()}"
                collector.add(crop, label, photo.name, size=size, seen=key)
                found.append(face is not None)
                opinion = None if face is None else face.probabilities
                told.append(np.full(len(EXPRESSIONS), np.nan, np.float32) if opinion is None else opinion)
    if unreadable:
        left_out.append(no_pictures(unreadable))
    collector.left_out = left_out
    pictures = collector.finish()
    if not len(pictures):
        raise DataError(f"{data} holds no photo with a labelled face")
    return Whole(pictures, np.array(found, bool), np.stack(told).astype(np.float32))


def _once(photos: Iterator[Photo], data: Path, left_out: list[str]) -> Iterator[Photo]:
    """Those that stood not yet under the same name.

    Raises:
        DataError: another photo, box or label did.
    """
    names = Names()
    for photo in photos:
        said = f"{'' if photo.boxes is None else photo.boxes.tolist()} {photo.labels}"
        seen = hashlib.sha256((photo.encoded or b"") + said.encode()).hexdigest()
        try:
            if names.is_new(photo.name, seen):
                yield photo
        except NoPictureError as error:
            raise DataError(f"{data}: {photo.name!r} {error}") from error
    if names.twice:
        left_out.append(f"{counted(names.twice, 'photo')} that stood there already under the same name")


def _inside(photo: Photo, image: npt.NDArray[np.uint8], data: Path) -> Photo:
    """The photo with its boxes cut off at its edge.

    Raises:
        DataError: less than a pixel of a box lies in it.
    """
    if photo.boxes is None:
        return photo
    height, width = image.shape[:2]
    boxes = np.clip(photo.boxes, 0, np.array([width, height, width, height], np.float32))
    if (boxes[:, 2:] - boxes[:, :2] < 1).any():
        said = f"lies outside of its {width} x {height} pixels or is smaller than one; boxes are in pixels"
        raise DataError(f"{data}: a box of {photo.name!r} {said}")
    return replace(photo, boxes=boxes)


def _matched(
    photo: Photo, faces: Sequence[DetectedFace], image: npt.NDArray[np.uint8]
) -> tuple[Boxes, list[DetectedFace | None]]:
    """The box to cut for each labelled face, float32 [F, 4], and the face found there."""
    if photo.boxes is None:
        largest = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])), default=None)
        height, width = image.shape[:2]
        box = np.array([0, 0, width, height], np.float32) if largest is None else largest.box
        return box[None], [largest]
    boxes = photo.boxes.copy()
    matched: list[DetectedFace | None] = [None] * len(boxes)
    for face in faces if len(boxes) else ():  # surest first
        overlaps = np.where([other is None for other in matched], iou(face.box, photo.boxes), 0.0)
        best = int(overlaps.argmax())
        if overlaps[best] >= MATCH_IOU:
            boxes[best], matched[best] = face.box, face
    return boxes, matched


def _decoded(
    photos: Iterator[Photo], unreadable: list[str], data: Path, *, strict: bool
) -> Iterator[list[tuple[Photo, npt.NDArray[np.uint8]]]]:
    """A few photos at a time with their pixels; what is none is named, or raises where all should be."""
    some: list[tuple[Photo, npt.NDArray[np.uint8]]] = []
    for photo in photos:
        try:
            some.append((photo, decoded(photo.encoded)))
        except NoPictureError as error:
            if strict:
                raise DataError(f"{data}: {photo.name!r} {error}") from error
            unreadable.append(photo.name)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some


def _labelled(path: Path, limit: int | None) -> Iterator[Photo]:
    table = read_table(path, ("name", "image", BOXES, FACE_LABEL))
    for row in spread(table.num_rows, limit):
        name: Any = table["name"][row].as_py()
        check_row(path, row, name, 0)
        boxes, labels = (table[column][row].as_py() or [] for column in (BOXES, FACE_LABEL))
        if not _fit(boxes, labels):
            raise DataError(f"{path}: {name!r} needs four numbers and one {FACE_LABEL} (or none) for each box")
        for label in labels:
            check_row(path, row, name, 0 if label is None else label)
        kept = [i for i, label in enumerate(labels) if label is not None]
        with np.errstate(over="ignore"):
            corners = np.array([boxes[i] for i in kept], np.float32).reshape(-1, 4)
        if not np.isfinite(corners).all() or (corners[:, 2:] <= corners[:, :2]).any():
            raise DataError(f"{path}: a box of {name!r} is not x1 < x2, y1 < y2 in pixels")
        yield Photo(name, picture_of(table, row), corners, tuple(labels[i] for i in kept))


def _fit(boxes: Any, labels: Any) -> bool:
    """Whether these are lists of boxes and of as many labels."""
    return (
        isinstance(boxes, list)
        and isinstance(labels, list)
        and len(boxes) == len(labels)
        and all(isinstance(box, list) and len(box) == 4 for box in boxes)
        and all(isinstance(edge, int | float) for box in boxes for edge in box)
    )


def _single(data: Path, split: str, limit: int | None, left_out: list[str]) -> Iterator[Photo]:
    folder = class_folder(data, split)
    if folder is not None:
        files, more = pictures_of(folder, limit)
        left_out += more
        for path, expression in files:
            try:
                encoded = read_file(path)
            except NoPictureError:
                encoded = None
            yield Photo(shown(str(path.relative_to(folder))), encoded, None, (INDEX[expression],))
        return
    tables = [read_table(path) for path in find_crops(data, split)]
    rows = [(table, row) for table in tables for row in range(table.num_rows)]
    for table, row in (rows[i] for i in spread(len(rows), limit)):
        name, label = table["name"][row].as_py(), table["label"][row].as_py()
        check_row(data, row, name, label)
        yield Photo(name, picture_of(table, row), None, (label,))
