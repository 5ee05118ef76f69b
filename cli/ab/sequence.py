"""Confidence sequences: intervals that may be looked at after every label, as often as one likes.

A common 95 % interval is wrong in 5 % of the looks; who looks daily and stops at the first "significant" day is wrong
far more often. These hold at all times together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cli.ab.estimate import Estimate

SCALE = 0.05
"""Standard deviation of the differences that one reckons with, as a share: the interval is tightest around such."""

QUANTILE_WEIGHT = 200.0
"""Observations that the mixture of `quantile_ranks` is worth: it is tightest around that many times a few."""

RATIO_WEIGHT = 1000.0
"""Likewise for `ratio_evidence`, in callers."""


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        return self.high - self.low


def interval(estimate: Estimate, alpha: float, scale: float = SCALE) -> Interval:
    """Where the true value lies, at all times together with probability 1 - alpha.

    The mixture sequential probability ratio test with a normal mixture (Robbins, Annals of Mathematical Statistics
    1970; Johari, Koomen, Pekelis and Walsh, "Always Valid Inference", Operations Research 2022), its variance
    estimated: with V the estimate's variance and T the scale, the half-width is
    sqrt(2 V (V + T^2) / T^2 (ln(1/alpha) + ln((V + T^2) / V) / 2)).
    It wants enough observations for a mean to be normal; `cli.ab.verdict` says how many are asked for.

    Args:
        estimate: of a mean or of a difference of means; its variance above 0.
        alpha: in (0, 1).
        scale: T, above 0.
    """
    half = half_width(estimate.variance, alpha, scale)
    return Interval(estimate.value - half, estimate.value + half)


def half_width(variance: float, alpha: float, scale: float = SCALE) -> float:
    """Of the interval of an estimate with this variance."""
    total = variance + scale**2
    return math.sqrt(2 * variance * total / scale**2 * (math.log(1 / alpha) + math.log(total / variance) / 2))


def quantile_interval(values: npt.NDArray[np.float64], quantile: float, alpha: float) -> Interval:
    """Where a quantile lies, at all times together with probability 1 - alpha, whatever the distribution.

    How many of N observations fall below the true quantile is binomial; which counts are believable at all times
    follows from a beta-binomial mixture (Howard and Ramdas, "Sequential estimation of quantiles", Bernoulli 2022).

    Args:
        values: float64 [N], independent of each other, in any order.
        quantile: in (0, 1).
        alpha: in (0, 1).

    Returns:
        An end is infinite as long as too few were observed to say.
    """
    ordered, n = np.sort(values), len(values)
    counts = np.arange(n + 1)
    a, b = QUANTILE_WEIGHT * quantile, QUANTILE_WEIGHT * (1 - quantile)
    evidence = _rising(a, n) + _rising(b, n)[::-1] - (math.lgamma(n + a + b) - math.lgamma(a + b))
    evidence -= counts * math.log(quantile) + (n - counts) * math.log1p(-quantile)
    believable = np.flatnonzero(evidence < math.log(1 / alpha))
    least, most = int(believable[0]), int(believable[-1])
    low = float(ordered[least - 1]) if least > 0 else -math.inf
    high = float(ordered[most]) if most < n else math.inf
    return Interval(low, high)


def _rising(start: float, n: int) -> npt.NDArray[np.float64]:
    """float64 [n + 1]: logarithms of gamma(start + k) / gamma(start) for k of 0 to n."""
    return np.concatenate([[0.0], np.cumsum(np.log(start + np.arange(n)))])


def ratio_evidence(callers: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> float:
    """Logarithm of the evidence that callers did not fall to the variants in the shares that were set.

    At ln(1 / alpha) or more the shares are refuted at level alpha, however often one looks. A Dirichlet-multinomial
    mixture (Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022). Evidence from
    times with different shares adds up.

    Args:
        callers: int64 [K], how many fell to each variant.
        shares: float64 [K], above 0, sum 1.
    """
    prior = RATIO_WEIGHT * shares
    mixed = math.lgamma(RATIO_WEIGHT) - math.lgamma(RATIO_WEIGHT + int(callers.sum()))
    mixed += float((_log_gamma(prior + callers) - _log_gamma(prior)).sum())
    return float(mixed - (callers * np.log(shares)).sum())
