"""Figures against a crowd and against one label, and by kind of picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelkit.data.votes import VOTES
from modelkit.judging.figures import Labels, Truth, by_light, by_size
from modelkit.judging.metrics import cross_entropy, distribution_error
from modelkit.judging.pictures import Pictures

SURE = np.eye(7, dtype=np.float32)


def pictures(labels: list[int], votes: list[dict[str, int]], sizes: list[float] | None = None) -> Pictures:
    counts = np.array([[row.get(name, 0) for name in VOTES] for row in votes], np.int64)
    crops = tuple(np.full((48, 48, 3), 120, np.uint8) for _ in labels)
    names = tuple(str(i) for i in range(len(labels)))
    return Pictures(
        crops, np.array(labels), counts, np.array(sizes or [48] * len(labels), np.float32), names, digest="d"
    )


VOTED = pictures(
    [3, 4, 5, 0, 6],
    [
        {"happiness": 10},
        {"neutral": 8, "sadness": 2},
        {"neutral": 6, "sadness": 4},
        {"NF": 10},
        {"fear": 5, "anger": 5},
    ],
)


def test_the_crowds_majority_and_the_label_are_asked_apart() -> None:
    found = Truth.of(VOTED).figures(SURE[[3, 4, 5, 0, 0]])
    assert found["n"] == 5
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["crowd"]["n"] == 3  # not a face, and nobody in the majority
    assert found["crowd"]["accuracy"] == pytest.approx(2 / 3)
    assert found["crowd"]["mean_recall"] == pytest.approx((1 + 0.5) / 2)
    assert found["crowd"]["per_class"]["fear"] is None


def test_one_may_be_asked_alone() -> None:
    answers = SURE[[3, 4, 5, 0, 0]]
    assert "crowd" not in Truth.of(VOTED, Labels.FER2013).figures(answers)
    only = Truth.of(VOTED, Labels.CROWD).figures(answers)
    assert only["accuracy"] == only["crowd"]["accuracy"] == pytest.approx(2 / 3)
    unvoted = pictures([3, 4], [{}, {}])
    assert "crowd" not in Truth.of(unvoted, Labels.BOTH).figures(SURE[[3, 4]])
    assert Truth.of(unvoted).one_person() is None
    with pytest.raises(ValueError, match="nobody voted on these pictures"):
        Truth.of(unvoted, Labels.CROWD)
    with pytest.raises(ValueError, match="on none of them more than half saw the same"):
        Truth.of(pictures([3], [{"NF": 9}]), Labels.CROWD)


def test_cross_entropy_is_against_the_crowds_distribution() -> None:
    shares = np.zeros((5, 7), np.float32)
    shares[0, 3], shares[1, [4, 5]], shares[2, [4, 5]] = 1, (0.8, 0.2), (0.6, 0.4)
    shares[3:] = 1 / 7
    truth = Truth.of(VOTED)
    found, person = truth.figures(shares)["crowd"], truth.one_person()
    assert person is not None
    assert found["cross_entropy"] == pytest.approx(person["crowd_entropy"], abs=1e-6)
    assert found["distribution_ece"] == pytest.approx(0, abs=1e-6)
    assert found["ece"] > 0.1
    assert truth.figures(SURE[[3, 4, 4, 0, 0]])["crowd"]["cross_entropy"] > found["cross_entropy"]


def test_an_answer_that_is_missing_is_wrong_and_costs_as_much_as_a_guess() -> None:
    missing = np.full((1, 7), np.nan, np.float32)
    assert cross_entropy(missing, SURE[:1]) == pytest.approx(np.log(7))
    assert distribution_error(missing, SURE[:1]) == 0
    assert Truth.of(pictures([3], [{}])).figures(missing)["accuracy"] == 0


def test_one_person_is_as_good_as_the_share_of_the_majority() -> None:
    person = Truth.of(VOTED).one_person()
    assert person is not None
    assert person["n"] == 3
    assert person["accuracy"] == pytest.approx((1 + 0.8 + 0.6) / 3)
    assert person["mean_recall"] == pytest.approx((1 + 0.7) / 2)
    assert person["per_class"]["neutral"] == pytest.approx(0.7)


def test_figures_of_pictures_without_a_copy_in_train_stand_beside() -> None:
    free = np.array([False, True, True, True, True])
    truth = Truth.of(VOTED, free=free)
    found: dict[str, Any] = truth.figures(SURE[[3, 0, 0, 0, 6]])
    assert (found["n"], found["copy_free"]["n"]) == (5, 4)
    assert (found["accuracy"], found["copy_free"]["accuracy"]) == (pytest.approx(0.6), pytest.approx(0.5))
    assert found["crowd"]["copy_free"] | {"n": 2, "accuracy": 0} == found["crowd"]["copy_free"]
    person = truth.one_person()
    assert person is not None
    assert person["copy_free"]["n"] == 2
    assert "copy_free" not in Truth.of(VOTED, free=~np.ones(5, bool)).figures(SURE[:5])


def test_faces_are_grouped_by_size() -> None:
    masks = by_size(np.array([10, 24, 47.5, 48, 95, 96, 500], np.float32))
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "under 24 px": 1,
        "24 to 48 px": 2,
        "48 to 96 px": 2,
        "96 px and more": 2,
    }
    found = Truth.of(pictures([3, 3], [{}, {}], [20, 100])).figures(SURE[[3, 4]])
    assert found["by_size"]["under 24 px"] == {"n": 1, "accuracy": 1, "mean_recall": 1}
    assert found["by_size"]["96 px and more"]["accuracy"] == 0


def test_faces_are_grouped_by_light() -> None:
    grey = np.full((4, 48, 48), 120, np.uint8)
    grey[1], grey[2], grey[3, :, :24] = 30, 220, 10
    masks = by_light(grey)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "dark": [1],
        "even": [0],
        "bright": [2],
        "uneven": [3],
    }
