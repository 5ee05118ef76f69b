"""Photos with face boxes, read from Parquet.

The schema is `name` (text), `image` (an encoded photo), `boxes_xyxy` (a list of [x1, y1, x2, y2] in pixels, empty
for a photo without faces) and, optional, `face_class` (one word per box; `without_mask` is a face one can read).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from modelkit.data.expressions import DataError

MASK_FREE = "without_mask"
COLUMNS = ("name", "image", "boxes_xyxy")


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo: encoded bytes, float32 [N, 4] boxes (x1, y1, x2, y2, pixels), bool [N]: wears no mask.

    unclear: float32 [M, 4], places where nobody can say whether there is a face.
    filled_in: how many of the boxes, the last ones, come from another detector and not from a label.
    """

    name: str
    encoded: bytes
    boxes: npt.NDArray[np.float32]
    unmasked: npt.NDArray[np.bool_]
    unclear: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 4), np.float32))
    filled_in: int = 0

    def image(self) -> Image.Image:
        """The decoded RGB photo."""
        return Image.open(io.BytesIO(self.encoded)).convert("RGB")


def read_photos(files: Sequence[Path]) -> list[Photo]:
    """Reads all photos of the files, in their order.

    Raises:
        DataError: a file cannot be read, lacks a column, or holds something else than boxes.
    """
    photos = []
    for file in files:
        try:
            table = pq.read_table(file)
        except (OSError, ValueError) as error:
            raise DataError(f"{file} is not a readable Parquet file: {error}") from error
        missing = [column for column in COLUMNS if column not in table.column_names]
        if missing:
            raise DataError(f"{file} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
        names, images, boxes = (table[column].to_pylist() for column in COLUMNS)
        kinds = table["face_class"].to_pylist() if "face_class" in table.column_names else [None] * len(names)
        photos += [_photo(file, *row) for row in zip(names, images, boxes, kinds, strict=True)]
    return photos


def digest(photos: Sequence[Photo]) -> str:
    """SHA-256 over pictures and boxes: which photos a model has seen."""
    sha = hashlib.sha256()
    for photo in photos:
        sha.update(photo.encoded)
        sha.update(photo.boxes.tobytes())
    return sha.hexdigest()


def _photo(file: Path, name: str, encoded: bytes, boxes: list[list[float]], kinds: list[str] | None) -> Photo:
    try:
        corners = np.asarray(boxes or [], np.float32).reshape(-1, 4)
    except (ValueError, TypeError) as error:
        raise DataError(f"{file}: the boxes of {name!r} are not a list of [x1, y1, x2, y2]") from error
    words = kinds if kinds is not None else [MASK_FREE] * len(corners)
    if len(words) != len(corners) or not np.isfinite(corners).all():
        raise DataError(f"{file}: {name!r} needs one face_class and four finite numbers for each box")
    return Photo(name, encoded, corners, np.array([word == MASK_FREE for word in words], bool))
