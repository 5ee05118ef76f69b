"""Whole photos are judged as callers get them: what the detector misses is wrong, and its crop is what counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modelkit.data.expressions import DataError
from modelkit.judging.detection import Detector
from modelkit.judging.whole import Whole, has_faces, read_whole
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from tests.modelkit.judging.faces import HAPPY, NEUTRAL, picture, write_folder, write_parquet
from tests.tiny_models import FACE, detector_graph, detector_manifest, publish

BRIGHT, DARK = 255, 0
SIDE = (64, 64)
"""What the tiny detector's input has, so that it finds FACE itself in a bright photo and nothing in a dark one."""

Box = list[float]


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return Detector.load(publish(tmp_path / "models", detector_manifest(), detector_graph()))


def photos(path: Path, boxes: list[list[Box]], labels: list[list[Any]], greys: list[int], **more: Any) -> Path:
    images = [picture(grey, SIDE, noise=i) for i, grey in enumerate(greys)]
    columns = {
        "boxes_xyxy": pa.array(boxes, pa.list_(pa.list_(pa.float32()))),
        "face_label": pa.array(labels, pa.list_(pa.int8())),
    }
    return write_parquet(path, [0] * len(boxes), images, label=None, **(columns | more))


def read(data: Path, detector: Detector, limit: int | None = None) -> Whole:
    return read_whole(data, "x", detector, read_recipe(DEFAULT_RECIPE), limit)


def test_each_labelled_face_is_found_or_missed(tmp_path: Path, detector: Detector) -> None:
    near, far = [18, 10, 50, 42], [0, 44, 10, 60]
    path = photos(
        tmp_path / "x.parquet",
        [[near, far], [list(FACE)], [list(FACE)], []],
        [[HAPPY, NEUTRAL], [HAPPY], [None], []],
        [BRIGHT, DARK, BRIGHT, BRIGHT],
    )
    assert has_faces(path)
    whole = read(path, detector)
    assert whole.found.tolist() == [True, False, False]
    assert whole.pictures.labels.tolist() == [HAPPY, NEUTRAL, HAPPY]
    assert whole.pictures.sizes.tolist() == [32, 16, 32]
    assert np.isfinite(whole.told).all(axis=1).tolist() == [True, False, False]
    assert {crop.shape for crop in whole.pictures.crops} == {(64, 64, 3)}


def test_the_crop_is_the_detectors_and_not_the_labels(tmp_path: Path, detector: Detector) -> None:
    edge = np.zeros((64, 64, 3), np.uint8) + 255
    edge[:, 40:] = 240  # inside FACE at x = 24 of 32
    from tests.modelkit.pictures import png

    path = photos(tmp_path / "x.parquet", [[[20, 12, 52, 44]]], [[HAPPY]], [BRIGHT], image=[png(edge)])
    (crop,) = read(path, detector).pictures.crops
    recipe = read_recipe(DEFAULT_RECIPE)
    side = 32 * (1 + 2 * recipe.crop_margin)
    middle = 32
    expected = (40 - (middle - side / 2)) / side * recipe.crop_size
    assert abs(int((crop[32, :, 0] > 247).sum()) - expected) <= 1


def test_one_face_is_found_once(tmp_path: Path, detector: Detector) -> None:
    path = photos(tmp_path / "x.parquet", [[list(FACE), [17, 9, 49, 41]]], [[HAPPY, NEUTRAL]], [BRIGHT])
    assert read(path, detector).found.tolist() == [True, False]


def test_what_of_a_box_reaches_beyond_the_photo_is_cut_off(tmp_path: Path, detector: Detector) -> None:
    path = photos(tmp_path / "x.parquet", [[[-1e30, -9, 1e30, 1e9]]], [[HAPPY]], [BRIGHT])
    assert read(path, detector).pictures.sizes.tolist() == [64]


def test_the_same_photo_under_the_same_name_counts_once(tmp_path: Path, detector: Detector) -> None:
    twice = {"name": ["a", "a"], "image": [picture(BRIGHT, SIDE)] * 2}
    whole = read(photos(tmp_path / "x.parquet", [[list(FACE)]] * 2, [[HAPPY]] * 2, [BRIGHT] * 2, **twice), detector)
    assert len(whole.pictures) == 1
    assert whole.pictures.left_out == ("1 photo that stood there already under the same name",)
    with pytest.raises(DataError, match="'a' stands there twice, with another picture or another label"):
        read(photos(tmp_path / "y.parquet", [[list(FACE)]] * 2, [[3], [4]], [BRIGHT] * 2, **twice), detector)


def test_of_a_folder_of_photos_the_largest_face_counts(tmp_path: Path, detector: Detector) -> None:
    data = write_folder(
        tmp_path / "photos", happy={"a.png": picture(BRIGHT, SIDE), "b.txt": b"x"}, sad={"a.png": picture(DARK, SIDE)}
    )
    whole = read(data, detector)
    assert whole.found.tolist() == [True, False]
    assert whole.pictures.names == ("happy/a.png", "sad/a.png")
    assert whole.pictures.left_out == ("1 file that cannot be read as a picture (happy/b.txt)",)


def test_a_parquet_of_labelled_pictures_may_hold_whole_photos(tmp_path: Path, detector: Detector) -> None:
    path = write_parquet(tmp_path / "x.parquet", [3, 4, 5], [picture(g, SIDE) for g in (BRIGHT, DARK, BRIGHT)])
    assert not has_faces(path)
    assert read(path, detector).found.tolist() == [True, False, True]
    assert read(path, detector, limit=1).pictures.labels.tolist() == [3]


@pytest.mark.parametrize(
    ("boxes", "labels", "more", "message"),
    [
        ([[[0, 0, 9, 9]]], [[7]], {}, "label 7 of 'face-0'"),
        ([[[0, 0, 9, 9]]], [[]], {}, "one face_label"),
        ([[[0, 0, 9]]], [[3]], {}, "needs four numbers"),
        ([[[9, 0, 0, 9]]], [[3]], {}, "is not x1 < x2"),
        ([[[0, 0, 9, float("nan")]]], [[3]], {}, "is not x1 < x2"),
        ([[[0, 0, 9, 9]]], [[3]], {"image": [b"x"]}, "is no picture"),
        ([[[0, 0, 9, 9]]], [[3]], {"image": pa.array([None], pa.binary())}, "has no picture"),
        ([[[0, 0, 9, 9]]], [[3]], {"image": None}, "has no column image"),
        ([[]], [[]], {}, "holds no photo with a labelled face"),
        ([[[90, 90, 99, 99]]], [[3]], {}, "lies outside of its 64 x 64 pixels"),
        ([[[0.1, 0.1, 0.4, 0.5]]], [[3]], {}, "boxes are in pixels"),
        ([[None]], [[3]], {}, "needs four numbers"),
        ([[[None, 0, 9, 9]]], [[3]], {}, "needs four numbers"),
        ([[]], [[3]], {"boxes_xyxy": [[0.0, 1.0, 2.0, 3.0]]}, "needs four numbers"),
        ([[]], [[3]], {"boxes_xyxy": [[["0", "0", "9", "9"]]]}, "needs four numbers"),
        ([[[0, 0, 9, 9]]], [[3]], {"face_label": [3]}, "one face_label"),
        ([[[0, 0, 9, 9]]], [[3]], {"face_label": [[3.0]]}, "label 3.0 of 'face-0' is no whole number"),
    ],
)
def test_a_row_that_is_none_is_named(
    tmp_path: Path, detector: Detector, boxes: Any, labels: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(photos(tmp_path / "x.parquet", boxes, labels, [BRIGHT], **more), detector)
