"""Means and their uncertainty, whoever sent the faces."""

import numpy as np
import pytest

from cli.ab.estimate import mean, mean_recall


def test_each_label_of_another_caller_has_the_variance_of_a_share() -> None:
    right = np.array([1.0, 0, 1, 1, 0, 1, 1, 1] * 50)
    found = mean(right, np.arange(400))
    assert found.value == 0.75
    assert found.variance == pytest.approx(0.75 * 0.25 / 399)
    assert (found.n, found.callers) == (400, 400)


def test_a_caller_who_says_the_same_ten_times_says_it_once() -> None:
    random = np.random.default_rng(0)
    once = (random.random(200) < 0.8).astype(float)
    single, repeated = mean(once, np.arange(200)), mean(once.repeat(10), np.arange(200).repeat(10))
    assert repeated.value == pytest.approx(single.value)
    assert repeated.variance == pytest.approx(single.variance)


def test_a_run_of_right_answers_is_not_certain() -> None:
    assert mean(np.ones(100), np.arange(100)).variance == pytest.approx(1e-4)
    assert mean_recall(np.ones(100, bool), np.arange(100) % 7, np.arange(100)).variance > 0


def test_differences_add_their_uncertainty() -> None:
    one, other = (mean(np.array([1.0, 0] * n), np.arange(2 * n)) for n in (50, 100))
    assert (one - other).value == 0
    assert (one - other).variance == pytest.approx(one.variance + other.variance)


def test_mean_recall_counts_each_expression_alike() -> None:
    truth = np.array([3] * 90 + [1] * 10)
    right = np.array([True] * 90 + [True, False] * 5)
    assert mean_recall(right, truth, np.arange(100)).value == pytest.approx(0.75)


def test_the_variance_of_the_mean_recall_is_that_of_many_repetitions() -> None:
    random = np.random.default_rng(1)
    values, variances = [], []
    for _ in range(400):
        truth = random.choice(3, 600, p=[0.7, 0.2, 0.1])
        found = mean_recall(random.random(600) < np.array([0.9, 0.6, 0.5])[truth], truth, np.arange(600))
        values.append(found.value)
        variances.append(found.variance)
    assert np.var(values) == pytest.approx(np.mean(variances), rel=0.2)
