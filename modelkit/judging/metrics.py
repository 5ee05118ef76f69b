"""How good probabilities are: accuracy, macro F1, calibration error, recall by expression, confusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serving.expressions import EXPRESSIONS

ECE_BINS = 15
SURE = 1e-7
"""Probabilities count as no smaller in a cross entropy: a single sure mistake must not be all that it shows."""


def confusion_matrix(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts, int64 [7, 8]: row is the true expression, column the predicted one, the last column no answer.

    Args:
        probabilities: float32 [N, 7]; a row with NaN is no answer.
        labels: int64 [N], 0..6.
    """
    answered = np.isfinite(probabilities).all(axis=1)
    predicted = np.where(answered, np.nan_to_num(probabilities).argmax(axis=1), len(EXPRESSIONS))
    counts = np.zeros((len(EXPRESSIONS), len(EXPRESSIONS) + 1), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def expected_calibration_error(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins of confidence, weighted by size.

    Naeini et al. 2015; Guo et al. 2017. Rows without an answer are left out; 0 if there is none.
    """
    answered = np.isfinite(probabilities).all(axis=1)
    return _gap(probabilities[answered], probabilities[answered].argmax(axis=1) == labels[answered])


def _gap(probabilities: npt.NDArray[np.float32], right: npt.NDArray[Any]) -> float:
    if not len(probabilities):
        return 0.0
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, right - confidence, ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def cross_entropy(probabilities: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    """Mean cross entropy of answers against distributions, in nats; no answer counts as a uniform one.

    Args:
        probabilities: float32 [N, 7]; a row with NaN is no answer.
        wanted: float32 [N, 7], rows sum to 1; N 1 or more.
    """
    answers = np.nan_to_num(probabilities.astype(np.float64), nan=1 / len(EXPRESSIONS))
    return float(-(wanted * np.log(np.maximum(answers, SURE))).sum(axis=1).mean())


def distribution_error(probabilities: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    """As `expected_calibration_error`, with the share that a crowd gives the answer in place of right or wrong.

    Args:
        probabilities: float32 [N, 7]; a row with NaN is left out.
        wanted: float32 [N, 7], rows sum to 1.
    """
    answered = np.isfinite(probabilities).all(axis=1)
    told = probabilities[answered]
    return _gap(told, wanted[answered][np.arange(len(told)), told.argmax(axis=1)])


def expression_metrics(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Figures of one model on labelled crops.

    Args:
        probabilities: float32 [N, 7]; a row with NaN counts as wrong.
        labels: int64 [N], 0..6, N 1 or more.

    Returns:
        accuracy, macro_f1 and mean_recall (over expressions that occur), ece, and per_class: recall by expression, None
        for one that does not occur.
    """
    counts = confusion_matrix(probabilities, labels)
    hits = counts.diagonal().astype(float)
    actual, predicted = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    occurs = actual > 0
    f1 = 2 * hits / np.maximum(actual + predicted, 1)
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "macro_f1": float(f1[occurs].mean()),
        "mean_recall": float((hits[occurs] / actual[occurs]).mean()),
        "ece": expected_calibration_error(probabilities, labels),
        "per_class": {
            expression.value: float(hits[i] / actual[i]) if actual[i] else None
            for i, expression in enumerate(EXPRESSIONS)
        },
    }


def fit_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """The temperature in [0.05, 20] that makes the labels likeliest (golden-section search over its logarithm).

    Args:
        logits: float32 [N, K].
        labels: int64 [N], 0..K-1.
    """
    scores = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]).mean())

    low, high = np.log(0.05), np.log(20.0)
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
