"""A share or a mean over labelled faces, and how uncertain it is when the faces come from few callers.

Faces of one caller are alike (the same camera, the same people), so each caller is one observation: the variance is
that of a ratio of sums over callers (Cochran, "Sampling Techniques", 1977, section 6.4; the cluster-robust variance
of a mean).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A number that data suggest.

    Attributes:
        value: the estimate itself.
        variance: of `value`, 0 or more.
        n: observations behind it.
        callers: who made them.
    """

    value: float
    variance: float
    n: int
    callers: int

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two estimates from different callers."""
        return Estimate(
            self.value - other.value, self.variance + other.variance, self.n + other.n, self.callers + other.callers
        )


def mean(values: Numbers, callers: Whole) -> Estimate:
    """The mean of what was observed.

    Args:
        values: float64 [N], N 1 or more; 1 for a right answer and 0 for a wrong one, or differences of such.
        callers: int64 [N], whose observation each is.

    The variance is never less than if one observation of all had been different by 1: without that, a run of right
    answers would be certain.
    """
    value = float(values.mean())
    variance = _variance(values - value, callers)
    return Estimate(value, max(variance, 1 / len(values) ** 2), len(values), len(np.unique(callers)))


def mean_recall(right: npt.NDArray[np.bool_], truth: Whole, callers: Whole) -> Estimate:
    """The mean over expressions of the share that was recognised.

    The variance is that of the estimate's linear part: an observation of expression k moves the recall of k, which
    weighs one in as many as occur (the delta method).

    Args:
        right: bool [N], N 1 or more.
        truth: int64 [N], the true expression of each.
        callers: int64 [N].
    """
    kinds, index, counts = np.unique(truth, return_inverse=True, return_counts=True)
    recalls = np.bincount(index, right, len(kinds)) / counts
    pull = (right - recalls[index]) * len(right) / (counts[index] * len(kinds))
    variance = max(_variance(pull, callers), float((1 / counts**2).sum()) / len(kinds) ** 2)
    return Estimate(float(recalls.mean()), variance, len(right), len(np.unique(callers)))


def _variance(deviations: Numbers, callers: Whole) -> float:
    """Of the mean of observations whose deviations from it these are."""
    _, index = np.unique(callers, return_inverse=True)
    sums = np.bincount(index, deviations)
    groups = len(sums)
    correction = groups / (groups - 1) if groups > 1 else 1.0
    return float((sums**2).sum() * correction / len(deviations) ** 2)
