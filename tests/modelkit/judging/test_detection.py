"""Recall and precision count what they say."""

import numpy as np
import pytest

from modelkit.judging.detection import match
from services.detector.engine import DetectedFace

pytestmark = pytest.mark.toolchain


def faces(*boxes: list[float]) -> list[DetectedFace]:
    return [DetectedFace(np.array(box, np.float32), 0.9 - 0.1 * i, None) for i, box in enumerate(boxes)]


TRUTH = np.array([[0, 0, 30, 40], [100, 100, 110, 120]], np.float32)


def test_a_hit_a_miss_and_a_false_alarm() -> None:
    found = match(faces([0, 0, 30, 38], [200, 200, 240, 240]), TRUTH)
    assert found.hits.tolist() == [True, False]
    assert (found.n_faces, found.recall, found.precision) == (1, 1.0, 0.5)


def test_a_face_counts_once() -> None:
    found = match(faces([0, 0, 30, 40], [0, 1, 30, 40]), TRUTH)
    assert found.hits.tolist() == [True, False]


def test_small_faces_are_neither_hit_nor_miss_nor_false_alarm() -> None:
    found = match(faces([100, 100, 110, 120]), TRUTH)
    assert found.hits.tolist() == []
    assert (found.n_faces, found.recall) == (1, 0.0)


def test_a_detection_takes_the_face_it_overlaps_most() -> None:
    truth = np.array([[0, 0, 40, 40], [10, 0, 50, 40]], np.float32)
    found = match(faces([9, 0, 49, 40], [1, 0, 41, 40]), truth)
    assert found.hits.tolist() == [True, True]


def test_photos_without_faces_only_have_false_alarms() -> None:
    found = match(faces([0, 0, 40, 40]), np.empty((0, 4), np.float32))
    assert (found.hits.tolist(), found.n_faces) == ([False], 0)


def test_what_may_be_a_face_is_neither_hit_nor_miss_nor_false_alarm() -> None:
    unclear = np.array([[200, 200, 240, 240]], np.float32)
    found = match(faces([0, 0, 30, 38], [200, 200, 240, 240]), TRUTH, unclear)
    assert (found.n_faces, found.recall, found.precision) == (1, 1.0, 1.0)


def test_a_threshold_takes_detections_away_and_leaves_the_faces() -> None:
    truth = np.array([[0, 0, 30, 40], [50, 50, 150, 150]], np.float32)
    found = match(faces([0, 0, 30, 38], [200, 200, 240, 240], [50, 50, 150, 140]), truth)
    sure = found.at_least(0.75)
    assert (found.recall, found.precision) == (1, pytest.approx(2 / 3))
    assert (sure.recall, sure.precision, sure.n_faces) == (0.5, 0.5, 2)
    assert sure.recall_by_size == {"24 to 48 px": 1, "96 px and more": 0}


def test_the_lowest_score_at_which_the_precision_suffices_leaves_the_most_faces() -> None:
    truth = np.array([[0, 0, 30, 40], [50, 50, 150, 150]], np.float32)
    found = match(faces([0, 0, 30, 38], [200, 200, 240, 240], [50, 50, 150, 140], [400, 400, 440, 440]), truth)
    assert (found.at_precision(0.6).recall, found.at_precision(0.6).precision) == (1, pytest.approx(2 / 3))
    assert (found.at_precision(1).recall, found.at_precision(1).precision) == (0.5, 1)
    assert match(faces([200, 200, 240, 240]), truth).at_precision(0.5).recall == 0


def test_average_precision_is_that_of_every_recall() -> None:
    truth = np.array([[0, 0, 30, 40], [50, 50, 150, 150], [300, 300, 340, 340]], np.float32)
    found = match(faces([0, 0, 30, 38], [200, 200, 240, 240], [50, 50, 150, 140]), truth)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 3)
    assert match([], truth).average_precision == 0
