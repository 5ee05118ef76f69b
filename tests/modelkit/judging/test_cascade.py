"""A cascade asks as seldom as it can without losing more than it may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.models.fit_vote import with_cascade, with_weights
from modelkit.judging.cascade import MOST_LOST, ask, fit_cascade
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe

N = 4000
LABELS = np.random.default_rng(0).integers(0, 7, N)
WEIGHTS = {"second": 0.4, "first": 0.6, "detector": 0.0}


def opinion(sharpness: float, seed: int) -> np.ndarray:
    """Confident where it is right more often than not."""
    logits = np.random.default_rng(seed).normal(0, 1, (N, 7)) + sharpness * np.eye(7)[LABELS]
    powers = np.exp(2 * logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


OPINIONS = {"second": opinion(2, 1), "first": opinion(2, 2), "detector": opinion(0, 3)}


def test_sure_faces_are_spared_at_almost_no_cost() -> None:
    found = fit_cascade(OPINIONS, WEIGHTS, "detector", LABELS)
    assert found is not None
    assert found.order == ("first", "second")
    assert 0.3 <= found.ask_below < 1
    assert 0 < found.further < 0.9
    assert found.lost <= MOST_LOST


def test_faces_that_are_spared_have_the_answer_of_the_first() -> None:
    answers, further = ask(OPINIONS, WEIGHTS, ("first", "second"), ["detector"], 0.7)
    np.testing.assert_allclose(answers[~further], OPINIONS["first"][~further], atol=1e-6)
    assert (OPINIONS["first"][~further].max(axis=1) >= 0.7).all()
    expected = 0.6 * OPINIONS["first"][further] + 0.4 * OPINIONS["second"][further]
    np.testing.assert_allclose(answers[further], expected, atol=1e-5)


def test_one_classifier_or_no_label_makes_no_cascade() -> None:
    alone = {name: OPINIONS[name] for name in ("first", "detector")}
    assert fit_cascade(alone, WEIGHTS, "detector", LABELS) is None
    assert fit_cascade(OPINIONS, WEIGHTS, "detector", np.full(N, -1)) is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_fitted_cascade_goes_into_a_recipe_that_can_be_served(tmp_path: Path, times: int) -> None:
    text = with_weights(DEFAULT_RECIPE.read_text(), {"arcface": 0.7, "efficientnet": 0.3})
    for _ in range(times):
        text = with_cascade(text, ("arcface", "efficientnet"), 0.62)
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert [(entry.name, entry.weight, entry.ask_below) for entry in recipe.classifiers] == [
        ("arcface", 0.7, None),
        ("efficientnet", 0.3, 0.62),
    ]
    assert recipe.detector == read_recipe(DEFAULT_RECIPE).detector
