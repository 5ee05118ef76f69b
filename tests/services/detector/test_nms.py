"""Of overlapping boxes the surest stays."""

import numpy as np
import pytest

from services.detector.nms import iou, suppress

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10], [0, 5, 10, 15]], np.float32)


def test_iou_by_hand() -> None:
    assert np.allclose(iou(BOXES[0], BOXES), [1.0, 0.8, 0.0, 50 / 150])


def test_iou_of_empty_boxes_is_zero() -> None:
    empty = np.zeros((1, 4), np.float32)
    assert iou(empty[0], empty).tolist() == [0.0]


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, [1, 2, 3]), (0.1, [1, 2])])
def test_the_surest_of_a_pile_stays(threshold: float, kept: list[int]) -> None:
    scores = np.array([0.8, 0.9, 0.7, 0.6], np.float32)
    assert suppress(BOXES, scores, threshold, 10).tolist() == kept


@pytest.mark.parametrize("surest", [0, 1])
def test_a_box_in_a_surer_one_and_around_a_surer_one_goes(surest: int) -> None:
    boxes = np.array([[0, 0, 40, 40], [10, 10, 22, 22], [34, 34, 60, 60]], np.float32)
    scores = np.array([0.8, 0.8, 0.3], np.float32)
    scores[surest] = 0.9
    assert suppress(boxes, scores, 0.5, 10).tolist() == [surest, 2]


def test_limit_and_order() -> None:
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(5)], np.float32)
    assert suppress(boxes, np.array([0.1, 0.5, 0.3, 0.5, 0.2], np.float32), 0.5, 3).tolist() == [1, 3, 2]


def test_nothing_in_nothing_out() -> None:
    assert suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5, 10).tolist() == []
