"""Means and their uncertainty, whoever sent the faces."""

import numpy as np
import pytest

from cli.ab.estimate import Difference, difference, mean


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


def compared(values, new, kinds=0, strata=0, callers=None) -> Difference:
    values, new = np.asarray(values, float), np.asarray(new, int)
    kinds, strata = (np.broadcast_to(one, len(values)) for one in (kinds, strata))
    found = difference(values, new, kinds, strata, np.arange(len(values)) if callers is None else callers)
    assert found is not None
    return found


def test_a_run_of_right_answers_is_not_certain() -> None:
    assert mean(np.ones(100), np.arange(100)).variance == pytest.approx(1e-4)
    side = np.arange(200) % 2
    assert compared(np.ones(200), side).estimate.variance == pytest.approx(2e-4)
    assert compared(np.ones(200), side, np.arange(200) % 7).estimate.variance > 2e-4
    # However sure the other one is.
    few = np.arange(10_100) < 100
    right = np.where(few, 1.0, np.arange(10_100) % 2)
    assert compared(right, few).estimate.variance == pytest.approx(1e-4 + 0.25 / 10_000, rel=0.02)


def test_without_strata_it_is_the_difference_of_two_means() -> None:
    new = np.repeat([1, 0], [100, 200])
    right = np.concatenate([np.arange(100) % 4 > 0, np.arange(200) % 2])
    callers = np.repeat(np.arange(60), 5)
    found = compared(right, new, callers=callers)
    one, other = mean(right[:100], callers[:100]), mean(right[100:], callers[100:])
    assert (found.new, found.old, found.estimate.value) == pytest.approx((0.75, 0.5, 0.25))
    assert found.estimate.variance == pytest.approx(one.variance + other.variance, rel=0.05)


def test_pictures_that_become_harder_while_shares_change_make_no_difference() -> None:
    random = np.random.default_rng(2)
    strata = np.repeat([0, 1], 5000)
    new = random.random(10_000) < np.array([0.02, 0.5])[strata]
    right = random.random(10_000) < np.array([0.9, 0.6])[strata]
    found = compared(right, new, strata=strata)
    assert right[new].mean() < right[~new].mean() - 0.15, "the plain means"
    assert abs(found.estimate.value) < 3 * found.estimate.variance**0.5 < 0.05
    assert found.new - found.old == pytest.approx(found.estimate.value)


def test_a_stratum_with_one_variant_alone_counts_nothing() -> None:
    half = compared([1, 0, 1, 1], [1, 0, 1, 0]).estimate
    more = compared([1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1], strata=[0, 0, 0, 0, 1, 1]).estimate
    assert more.value == half.value
    assert difference(*(np.zeros(4, kind) for kind in (float, int, int, int, int))) is None


def test_each_expression_counts_alike() -> None:
    truth = np.tile([3] * 90 + [1] * 10, 2)
    right = np.concatenate([[1] * 90 + [1, 0] * 5, [0] * 100])
    found = compared(right, np.repeat([1, 0], 100), truth)
    assert (found.new, found.old) == pytest.approx((0.75, 0))


@pytest.mark.parametrize("expressions", [1, 3])
def test_the_variance_is_that_of_many_repetitions(expressions: int) -> None:
    """Of callers who repeat, some of them on both sides, in shares that change."""
    random = np.random.default_rng(1)
    values, variances = [], []
    for _ in range(400):
        callers = random.integers(0, 200, 1200)
        liking = random.normal(0, 0.1, 200)[callers]
        strata = np.repeat([0, 1, 2], 400)
        new = random.random(1200) < np.array([0.1, 0.5, 0.8])[strata]
        truth = random.choice(3, 1200, p=[0.7, 0.2, 0.1]) % expressions
        right = random.random(1200) < np.array([0.8, 0.6, 0.5])[truth] + 0.1 * (strata == 1) + liking
        found = compared(right, new, truth, strata, callers).estimate
        values.append(found.value)
        variances.append(found.variance)
    assert np.var(values) == pytest.approx(np.mean(variances), rel=0.2)
    assert abs(np.mean(values)) < 0.01
