"""Labelled expression crops, read from Parquet.

The schema is `split` (text), `name` (text), `label` (0 angry, 1 disgust, 2 fear, 3 happy, 4 neutral, 5 sad,
6 surprised) and `image` (an encoded picture of a face). Any file of that schema will do.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from serving.expressions import EXPRESSIONS

CROP_SIZE = 48
PHOTO_COLUMN = "boxes_xyxy"
REPORTED = "public_test"
"""The split by which models are judged, and that none learns from."""
COLUMNS = ("split", "name", "label", "image")


class DataError(ValueError):
    """The data folder or one of its files is not what the toolchain needs; the message says what is."""


@dataclass(frozen=True)
class ExpressionSet:
    """Face crops with their expression.

    Attributes:
        images: uint8 [N, 48, 48], grey.
        labels: int64 [N], index into `serving.expressions.EXPRESSIONS`; -1 where nobody said.
        names: N names, as the file gives them.
        votes: int64 [N, 10], what a crowd saw, see `modelkit.data.votes`; None where nobody was asked.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    votes: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Self:
        """The subset of these rows (indices or mask)."""
        index = np.arange(len(self))[rows]
        votes = None if self.votes is None else self.votes[index]
        return type(self)(self.images[index], self.labels[index], tuple(self.names[i] for i in index), votes)

    def __add__(self, other: Self) -> Self:
        """Both, one after the other; without votes where either has none."""
        votes = None
        if self.votes is not None and other.votes is not None:
            votes = np.concatenate([self.votes, other.votes])
        images = np.concatenate([self.images, other.images])
        labels = np.concatenate([self.labels, other.labels])
        return type(self)(images, labels, self.names + other.names, votes)

    @property
    def digest(self) -> str:
        """SHA-256 over pixels and labels: which data a model has seen."""
        sha = hashlib.sha256(self.images.tobytes())
        sha.update(self.labels.tobytes())
        if self.votes is not None:
            sha.update(self.votes.tobytes())
        return sha.hexdigest()


def find_parquet(data: Path, collection: str, split: str) -> list[Path]:
    """The files of one split, wherever `data` points: at the root, at the collection's folder, or at a file.

    Args:
        data: root that holds `<collection>/`, or that folder itself, or one Parquet file.
        collection: `fer2013` or `faces`.
        split: `train` finds `train.parquet` and `train-*.parquet`, and likewise for other names.

    Raises:
        DataError: nothing was found; the message lists where it looked.
    """
    if data.is_file():
        if (PHOTO_COLUMN in _columns(data)) != (collection == "faces"):
            raise DataError(f"{data} holds no {collection} pictures")
        return [data]
    folders = [data / collection, data]
    for folder in folders:
        files = sorted([*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])
        if files:
            return files
    looked = " or ".join(str(folder) for folder in folders)
    raise DataError(f"no {split}.parquet or {split}-*.parquet in {looked}; pass the data folder with --data")


def read_expressions(data: Path, split: str) -> ExpressionSet:
    """Reads one split of expression crops.

    Args:
        data: see `find_parquet`.
        split: `train`, `public_test`, or any other name that a file bears.

    Raises:
        DataError: no such file, wrong columns, a label outside 0..6, or a picture that cannot be decoded.
    """
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    names: list[str] = []
    for path in find_parquet(data, "fer2013", split):
        for row in _rows(path):
            if row["label"] is None or not 0 <= row["label"] < len(EXPRESSIONS):
                raise DataError(f"{path}: label {row['label']} of {row['name']!r} is not in 0..{len(EXPRESSIONS) - 1}")
            images.append(_decode(row["image"], f"{path}: {row['name']!r}"))
            labels.append(row["label"])
            names.append(row["name"])
    if not images:
        raise DataError(f"split {split!r} in {data} holds no images")
    return ExpressionSet(np.stack(images), np.asarray(labels, np.int64), tuple(names))


def _columns(path: Path) -> list[str]:
    try:
        names: list[str] = pq.read_schema(path).names
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    return names


def _rows(path: Path) -> list[dict[str, Any]]:
    missing = set(COLUMNS) - set(_columns(path))
    if missing:
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}; it needs {', '.join(COLUMNS)}")
    rows: list[dict[str, Any]] = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    return rows


def _decode(encoded: object, where: str) -> npt.NDArray[np.uint8]:
    if not isinstance(encoded, bytes):
        raise DataError(f"{where} has no image bytes")
    try:
        picture = Image.open(io.BytesIO(encoded)).convert("L")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{where} is not a picture: {error}") from error
    if picture.size != (CROP_SIZE, CROP_SIZE):
        picture = picture.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(picture)
