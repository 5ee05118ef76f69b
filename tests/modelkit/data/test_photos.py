"""Photos come out of Parquet as they went in, and broken files are named."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelkit.data.expressions import DataError
from modelkit.data.photos import digest, read_photos

pytestmark = pytest.mark.toolchain


def write(path: Path, **changes: Any) -> Path:
    packed = io.BytesIO()
    Image.new("RGB", (40, 30), (10, 200, 30)).save(packed, "PNG")
    columns: dict[str, Any] = {
        "name": ["a", "b"],
        "image": [packed.getvalue()] * 2,
        "boxes_xyxy": [[[1.0, 2.0, 11.0, 14.0], [20.0, 5.0, 30.0, 15.0]], []],
        "face_class": [["without_mask", "with_mask"], []],
    } | changes
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return path


def test_boxes_masks_and_pixels(tmp_path: Path) -> None:
    first, second = read_photos([write(tmp_path / "faces.parquet")])
    assert first.boxes.tolist() == [[1, 2, 11, 14], [20, 5, 30, 15]]
    assert first.unmasked.tolist() == [True, False]
    assert first.image().size == (40, 30)
    assert second.boxes.shape == (0, 4)


def test_without_classes_every_face_counts_as_unmasked(tmp_path: Path) -> None:
    first, _ = read_photos([write(tmp_path / "faces.parquet", face_class=None)])
    assert first.unmasked.tolist() == [True, True]


def test_the_digest_tells_boxes_apart(tmp_path: Path) -> None:
    one = read_photos([write(tmp_path / "one.parquet")])
    other = read_photos([write(tmp_path / "other.parquet", boxes_xyxy=[[[1.0, 2.0, 11.0, 15.0], [0, 0, 9, 9]], []])])
    assert digest(one) == digest(read_photos([tmp_path / "one.parquet"])) != digest(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes_xyxy": None}, "no column boxes_xyxy"),
        ({"boxes_xyxy": [[[1.0, 2.0, 3.0]], []]}, "x1, y1, x2, y2"),
        ({"boxes_xyxy": [[[1.0, 2.0, float("nan"), 4.0], [0, 0, 1, 1]], []]}, "finite"),
        ({"face_class": [["with_mask"], []]}, "one face_class"),
    ],
)
def test_a_broken_file_is_named_with_its_fault(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_photos([write(tmp_path / "faces.parquet", **changes)])


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "faces.parquet").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"faces\.parquet is not a readable Parquet file"):
        read_photos([tmp_path / "faces.parquet"])


def test_images_are_decoded_as_rgb(tmp_path: Path) -> None:
    [first, _] = read_photos([write(tmp_path / "faces.parquet")])
    assert np.asarray(first.image())[0, 0].tolist() == [10, 200, 30]
