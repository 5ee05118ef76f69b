"""Faces that labels leave out, and what YuNet's outputs mean."""

import numpy as np
import numpy.typing as npt
import pytest

from modelkit.data.photos import Photo
from modelkit.detector.missing import filled
from modelkit.detector.yunet import decode
from tests.modelkit.pictures import png

pytestmark = pytest.mark.toolchain


class Finder:
    """Finds the same boxes in every photo, each as sure as `scores` says, or quite sure."""

    def __init__(self, *boxes: list[float], scores: tuple[float, ...] = ()) -> None:
        self.boxes = np.array(boxes, np.float32)
        self.scores = np.array(scores or [1] * len(boxes), np.float32)

    def find(
        self, image: npt.NDArray[np.uint8], least: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        found = self.scores >= least
        return self.boxes[found], self.scores[found]


def photo(*boxes: list[float]) -> Photo:
    return Photo(
        "a", png(np.zeros((48, 48, 3), np.uint8)), np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), bool)
    )


def test_only_faces_apart_from_the_labelled_ones_are_added() -> None:
    finder = Finder([2, 2, 11, 12], [3, 3, 6, 6], [30, 30, 40, 42])
    (more,) = filled([photo([0, 0, 10, 10])], finder)
    assert more.boxes.tolist() == [[0, 0, 10, 10], [30, 30, 40, 42]]
    assert more.unmasked.tolist() == [True, False]
    assert more.filled_in == 1


def test_what_is_found_without_certainty_is_an_unclear_place() -> None:
    finder = Finder([2, 2, 11, 12], [30, 30, 40, 42], [20, 0, 28, 9], scores=(0.5, 0.5, 0.1))
    (unclear,) = filled([photo([0, 0, 10, 10])], finder)
    assert unclear.unclear.tolist() == [[30, 30, 40, 42]]
    assert (len(unclear.boxes), unclear.filled_in) == (1, 0)


def test_a_photo_known_to_hold_no_face_stays_empty() -> None:
    (empty,) = filled([photo()], Finder([30, 30, 40, 42]))
    assert (len(empty.boxes), empty.filled_in) == (0, 0)


def test_one_cell_says_where_its_face_is() -> None:
    answers = {
        f"{kind}_16": np.zeros((1, 6, width), np.float32) for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4))
    }
    answers["cls_16"][0, 4], answers["obj_16"][0, 4] = 0.9, 0.4
    answers["bbox_16"][0, 4] = [0.5, 0.25, np.log(2), np.log(3)]
    boxes, scores = decode(answers, 16, columns=3)  # cell 4 is column 1 of row 1
    assert scores[4] == pytest.approx(0.6)
    assert boxes[4] == pytest.approx([24 - 16, 20 - 24, 24 + 16, 20 + 24])
