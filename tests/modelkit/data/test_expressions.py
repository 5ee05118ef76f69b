from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelkit.data.expressions import DataError, find_parquet, read_expressions
from tests.modelkit.pictures import crops, png, write_crops

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("inside", ["", "fer2013", "fer2013/public_test.parquet"])
def test_data_may_be_the_root_the_collection_or_the_file(data: Path, inside: str) -> None:
    assert len(read_expressions(data / inside, "public_test")) == 35


def test_shards_are_read_in_order(data: Path) -> None:
    train = read_expressions(data, "train")
    assert train.images.shape == (140, 48, 48)
    assert train.names[:1] + train.names[70:71] == ("train-0-0", "train-1-0")


def test_digest_tells_other_labels_and_other_pixels(data: Path) -> None:
    first = read_expressions(data, "train")
    same, fewer = read_expressions(data, "train"), first.take(np.arange(139))
    first_digest = first.digest
    same.labels[3] = (same.labels[3] + 1) % 7
    assert len({first_digest, same.digest, fewer.digest}) == 3


def test_missing_split_names_the_places_looked_at(data: Path) -> None:
    with pytest.raises(DataError, match=r"no nowhere\.parquet .*fer2013 or .*--data"):
        read_expressions(data, "nowhere")


def test_other_sizes_become_48_pixels(tmp_path: Path) -> None:
    images = np.zeros((2, 96, 96), np.uint8)
    write_crops(tmp_path / "x.parquet", images, np.array([0, 6]))
    assert read_expressions(tmp_path, "x").images.shape == (2, 48, 48)


@pytest.mark.parametrize("label", [-1, 7])
def test_label_out_of_range_is_refused(tmp_path: Path, label: int) -> None:
    images, _ = crops(1, seed=0)
    write_crops(tmp_path / "x.parquet", images[:1], np.array([label]))
    with pytest.raises(DataError, match=rf"label {label} of 'x-0' is not in 0\.\.6"):
        read_expressions(tmp_path, "x")


def test_broken_picture_is_named(tmp_path: Path) -> None:
    table = pa.table({"split": ["x"], "name": ["face"], "label": pa.array([1], pa.int8()), "image": [b"no picture"]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="'face' is not a picture"):
        read_expressions(tmp_path, "x")


def test_missing_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["face"], "image": [png(np.zeros((48, 48), np.uint8))]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no column label, split"):
        read_expressions(tmp_path, "x")


def test_file_that_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"hello")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_expressions(tmp_path, "x")


def test_crops_are_no_photos(data: Path) -> None:
    with pytest.raises(DataError, match="holds no faces pictures"):
        find_parquet(data / "fer2013" / "public_test.parquet", "faces", "validation")
