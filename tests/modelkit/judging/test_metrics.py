from __future__ import annotations

import numpy as np
import pytest

from modelkit.judging.metrics import confusion_matrix, expected_calibration_error, expression_metrics, fit_temperature
from serving.expressions import INDEX, Expression


def rows(*winners: tuple[int, float]) -> np.ndarray:
    """Probabilities that give `share` to `winner` and the rest evenly to the others."""
    result = np.empty((len(winners), 7), np.float32)
    for row, (winner, share) in zip(result, winners, strict=True):
        row[:] = (1 - share) / 6
        row[winner] = share
    return result


def test_figures_by_hand() -> None:
    answers = rows((0, 0.9), (0, 0.9), (3, 0.6), (3, 0.6), (3, 0.6))
    labels = np.array([0, 3, 3, 3, 5])
    figures = expression_metrics(answers, labels)
    assert figures["accuracy"] == pytest.approx(3 / 5)
    # angry: precision 1/2, recall 1; happy: 2/3 and 2/3; sad: never predicted.
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    # Two bins: |1/2 - 0.9| with two rows, |2/3 - 0.6| with three.
    assert figures["ece"] == pytest.approx((0.4 * 2 + (2 / 3 - 0.6) * 3) / 5, abs=1e-6)
    assert figures["per_class"]["happy"] == pytest.approx(2 / 3)
    assert figures["per_class"]["fear"] is None


def test_no_answer_is_a_wrong_answer() -> None:
    answers = rows((2, 0.8), (2, 0.8))
    answers[1] = np.nan
    labels = np.array([2, 2])
    assert expression_metrics(answers, labels)["accuracy"] == 0.5
    assert confusion_matrix(answers, labels)[INDEX[Expression.FEAR]].tolist() == [0, 0, 1, 0, 0, 0, 0, 1]
    assert expected_calibration_error(np.full((1, 7), np.nan, np.float32), labels[:1]) == 0


def test_fitted_temperature_undoes_scaled_logits() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (20000, 7))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) > rng.random((20000, 1))).argmax(axis=1)
    assert fit_temperature((logits * 3).astype(np.float32), labels) == pytest.approx(3, rel=0.05)
