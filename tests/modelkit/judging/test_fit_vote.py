"""Weights of the vote: the better informed model gets more, and nonsense gets nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.models.fit_vote import with_weights
from modelkit.judging.fit_vote import fit_weights
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe

LABELS = np.random.default_rng(0).integers(0, 7, 600)


def opinion(reliability: float, seed: int) -> np.ndarray:
    """Right with this probability and calibrated: the rest goes to the other six."""
    random = np.random.default_rng(seed)
    said = np.where(random.random(len(LABELS)) < reliability, LABELS, (LABELS + random.integers(1, 7, len(LABELS))) % 7)
    rows = np.full((len(LABELS), 7), (1 - reliability) / 6, np.float32)
    rows[np.arange(len(LABELS)), said] = reliability
    return rows


def likelihood(weights: np.ndarray, opinions: np.ndarray) -> float:
    mixed = np.tensordot(weights, opinions, 1)[np.arange(len(LABELS)), LABELS]
    return float(np.log(mixed).mean())


def test_better_model_gets_more_and_a_uniform_one_next_to_nothing() -> None:
    opinions = np.stack([opinion(0.8, 1), opinion(0.5, 2), np.full((len(LABELS), 7), 1 / 7, np.float32)])
    weights = fit_weights(opinions, np.eye(7)[LABELS])
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    assert weights[2] < 0.05


def test_no_other_weights_make_the_labels_likelier() -> None:
    opinions = np.stack([opinion(0.7, 1), opinion(0.6, 2), opinion(0.4, 3)])
    best = likelihood(fit_weights(opinions, np.eye(7)[LABELS]), opinions)
    for other in np.random.default_rng(4).dirichlet(np.ones(3), 200):
        assert likelihood(other, opinions) <= best + 1e-6


def test_rows_without_an_opinion_do_not_break_the_fit() -> None:
    opinions = np.stack([opinion(0.7, 1), opinion(0.6, 2)])
    opinions[1, :300] = np.nan
    weights = fit_weights(opinions, np.eye(7)[LABELS])
    assert np.isfinite(weights).all()
    assert weights[0] > weights[1]


def test_fitted_weights_go_into_a_recipe_that_can_be_served(tmp_path: Path) -> None:
    text = with_weights(DEFAULT_RECIPE.read_text(), {"efficientnet": 0.5, "arcface": 0.375, "detector": 0.125})
    (tmp_path / "recipe.toml").write_text(text)
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert recipe.weights == (0.5, 0.375, 0.125)
    assert recipe.classifiers[0].timeout == read_recipe(DEFAULT_RECIPE).classifiers[0].timeout


def test_models_without_a_fit_keep_their_weight(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(with_weights(DEFAULT_RECIPE.read_text(), {"arcface": 0.9}))
    first, _, detector = read_recipe(DEFAULT_RECIPE).weights
    assert read_recipe(tmp_path / "recipe.toml").weights == (first, 0.9, detector)
