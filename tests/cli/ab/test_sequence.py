"""Intervals that hold at every look."""

import math

import numpy as np
import pytest

from cli.ab.estimate import Estimate, mean
from cli.ab.sequence import half_width, interval, quantile_interval, ratio_evidence


def test_the_width_is_that_of_the_published_formula() -> None:
    # V = 1e-4, T = 0.05: V + T^2 = 2.6e-3; 2 * 1e-4 * 2.6e-3 / 2.5e-3 * (ln 20 + ln(26) / 2)
    assert half_width(1e-4, 0.05) == pytest.approx(math.sqrt(2.08e-4 * (math.log(20) + math.log(26) / 2)))


def test_more_labels_and_a_laxer_level_narrow_the_interval() -> None:
    wide, narrow = (interval(Estimate(0.02, 0.1 / n, n, n), 0.05) for n in (1000, 10_000))
    assert narrow.width < wide.width / 2
    assert interval(Estimate(0.02, 1e-4, 1000, 1000), 0.2).width < wide.width
    assert 0.02 in narrow


@pytest.mark.slow
def test_the_true_share_stays_inside_at_every_look() -> None:
    random = np.random.default_rng(2)
    outside = 0
    for _ in range(100):
        right = (random.random(3000) < 0.8).astype(float)
        looks = (interval(mean(right[:n], np.arange(n)), 0.05) for n in range(100, 3000, 25))
        outside += any(0.8 not in look for look in looks)
    assert outside <= 8  # of 100; 5 are promised, a common interval has about 30


@pytest.mark.slow
def test_a_quantile_is_inside_at_every_look_and_its_interval_narrows() -> None:
    random = np.random.default_rng(3)
    truth, outside = -math.log(0.05), 0
    for _ in range(50):
        waits = random.exponential(size=3000)
        outside += any(truth not in quantile_interval(waits[:n], 0.95, 0.05) for n in range(50, 3000, 59))
    assert outside <= 5
    assert quantile_interval(waits, 0.95, 0.05).width < 1


def test_a_quantile_of_few_is_open_on_its_side() -> None:
    few = quantile_interval(np.arange(20.0), 0.95, 0.05)
    assert few.high == math.inf
    assert math.isfinite(few.low)
    nothing = quantile_interval(np.empty(0), 0.95, 0.05)
    assert (nothing.low, nothing.high) == (-math.inf, math.inf)


def test_shares_as_set_are_not_refuted_and_others_are() -> None:
    half = np.array([0.5, 0.5])
    assert ratio_evidence(np.array([5050, 4950]), half) < 0
    assert ratio_evidence(np.array([5400, 4600]), half) > math.log(100)
    assert ratio_evidence(np.array([0, 0]), half) == pytest.approx(0)
    three = np.array([0.9, 0.05, 0.05])
    assert ratio_evidence(np.array([9000, 500, 500]), three) < 0
    assert ratio_evidence(np.array([9000, 700, 300]), three) > math.log(100)
