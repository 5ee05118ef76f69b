"""Crops and photos that are made harder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelkit.data.photos import Photo
from modelkit.judging.detection import Detector
from modelkit.judging.figures import Labels
from modelkit.judging.harder import HarderCrops, conditions, darker, lost, one_side, rolled, smaller
from modelkit.judging.harder_photos import as_it_is, dimmed, framed, judge_harder, shrunk, turned
from modelkit.judging.pictures import Collector
from tests.modelkit.judging.faces import picture
from tests.tiny_models import detector_graph, detector_manifest, publish


def photo(*boxes: tuple[float, float, float, float]) -> Photo:
    """A dark photo of 300 x 200 with bright boxes."""
    pixels = np.zeros((200, 300, 3), np.uint8)
    for left, top, right, bottom in boxes:
        pixels[int(top) : int(bottom), int(left) : int(right)] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Photo("p", buffer.getvalue(), np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), bool))


def test_each_condition_takes_something_away_and_the_same_each_time() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    first, *others = conditions()
    assert (first.change(crop) == crop).all()
    for condition in others:
        assert (condition.change(crop) == condition.change(crop.copy())).all()
        assert condition.name == "48 px" or not np.array_equal(condition.change(crop), crop), condition.name


def test_crops_shrink_darken_and_roll_about_their_middle() -> None:
    crop = np.full((48, 48, 3), 200, np.uint8)
    assert smaller(crop, 12).shape == (12, 12, 3)
    assert smaller(crop, 96) is crop
    assert darker(crop, 0.25).mean() == pytest.approx(50, abs=1)
    assert darker(crop, 0.25).std() > 1
    assert one_side(crop, 0.2)[:, [0, -1]].mean(axis=(0, 2)).tolist() == pytest.approx([200, 40], abs=1)
    assert (rolled(crop, 30) == 200).all()
    crop[20:28, 20:28] = 0
    assert (rolled(crop, 90)[20:28, 20:28] == 0).all()


def test_only_faces_that_the_crowd_decides_are_made_harder() -> None:
    collector = Collector(48)
    votes = np.zeros((2, 10), np.int64)
    votes[0, 1], votes[1, :2] = 10, 5  # happiness; neutral and happiness alike
    for i in range(2):
        collector.add_picture(picture(noise=i), 0, f"{i}", votes[i])
    pictures = collector.finish()
    assert HarderCrops.of(pictures, Labels.BOTH).truth.tolist() == [3]
    assert HarderCrops.of(pictures, Labels.FER2013).truth.tolist() == [0, 0]


def test_what_is_lost_is_read_by_kind() -> None:
    harder = {"as it is": {"accuracy": 1.0}, "48 px": {"accuracy": 0.9}, "12 px": {"accuracy": 0.4}}
    assert lost([{"model": "a", "harder": harder}, {"model": "b"}], "size") == {"a": [(12, 0.4), (48, 0.9)]}


def test_boxes_follow_what_is_done_to_the_photo() -> None:
    told = photo((30, 40, 66, 94), (150, 50, 250, 150))
    (small,) = shrunk(told, 16, 24)
    assert small.boxes.round().tolist() == [[10, 13, 22, 31]]
    assert small.others.round().tolist() == [[50, 17, 83, 50]]
    assert small.image.shape == (200, 300, 3)
    assert not list(shrunk(told, 10, 16))
    (frame,) = framed(told, 0.8)
    assert frame.image.shape == (125, 125, 3)
    assert frame.boxes.round().tolist() == [[13, 13, 113, 113]]
    assert not len(frame.others)
    (quarter,) = turned(told, 90)
    assert quarter.image.shape == (300, 200, 3)
    assert quarter.boxes.round().tolist() == [[40, 234, 94, 270], [50, 50, 150, 150]]
    (tilted,) = turned(told, 45)
    middle = (tilted.boxes[:, :2] + tilted.boxes[:, 2:]) / 2
    assert all(tilted.image[int(y), int(x)].mean() > 200 for x, y in middle)
    (dim,), (same,) = dimmed(told, 0.25), as_it_is(told)
    assert same.boxes is told.boxes
    assert dim.image[100, 200].mean() == pytest.approx(64, abs=8)


def test_a_detector_is_judged_on_every_kind_that_has_a_face(tmp_path: Path) -> None:
    publish(tmp_path, detector_manifest(), detector_graph())
    detector = Detector.load(next((tmp_path / "detector").iterdir()))
    found = judge_harder(detector, [photo((30, 40, 80, 94), (150, 50, 250, 150))])
    assert {"as they are", "16 to 24 px", "turned by 45°", "light 0.125"} <= found.keys()
    assert "10 to 16 px" not in found
    assert all(0 <= each["recall"] <= 1 and 0 <= each["precision"] <= 1 for each in found.values())
    assert found["as they are"]["n_faces"] == 2
    assert judge_harder(detector, []) == {}
