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


def mean(values: Numbers, callers: Whole) -> Estimate:
    """The mean of what was observed.

    Args:
        values: float64 [N], N 1 or more; 1 for a right answer and 0 for a wrong one, or differences of such.
        callers: int64 [N], whose observation each is.

    The variance is never less than if one observation of all had been different by 1: without that, a run of right
    answers would be certain.
    """
    value = float(values.mean())
    variance = _squared((values - value) / len(values), callers)
    return Estimate(value, max(variance, 1 / len(values) ** 2), len(values), len(np.unique(callers)))


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two variants.

    Attributes:
        estimate: new less old.
        new, old: what each has, over the same mix of strata; their difference is the estimate.
    """

    estimate: Estimate
    new: float
    old: float


def difference(values: Numbers, new: Whole, kinds: Whole, strata: Whole, callers: Whole) -> Difference | None:
    """The mean over kinds of the difference of two variants' means, taken within strata and then joined.

    Where a variant's share of the callers changes while pictures become harder, their means over all of it differ
    without a difference between the variants. So each kind's is the coefficient of a regression on the variant and the
    strata: within a stratum with n and m observations the difference weighs n m / (n + m) (Cochran, Biometrics 1954;
    Mantel and Haenszel 1959), which is nothing where one variant has none. Its variance is robust against whatever one
    caller's observations have in common, those of both variants included (Liang and Zeger, Biometrika 1986).

    Args:
        values: float64 [N].
        new: int64 [N], 1 for an observation of the new variant, 0 for one of the old.
        kinds: int64 [N], 0 or more; each weighs the same (expressions, for a mean recall).
        strata: int64 [N], 0 or more (routing tables).
        callers: int64 [N], whose observation each is.

    Returns:
        None where no stratum has both variants. The variance is never less than if of either variant the observation
        that weighs most had been different by 1.
    """
    _, kind = np.unique(kinds, return_inverse=True)
    _, cell, whole = np.unique(kind * (strata.max(initial=0) + 1) + strata, return_inverse=True, return_counts=True)
    apart = new - (np.bincount(cell, new) / whole)[cell]
    weight = np.bincount(kind, apart**2)
    known = np.flatnonzero(weight > 0)
    if not len(known):
        return None
    pull = np.divide(apart, weight[kind], out=np.zeros(len(values)), where=weight[kind] > 0) / len(known)
    effect = np.bincount(kind, pull * values) * len(known)
    rest = values - (np.bincount(cell, values) / whole)[cell] - apart * effect[kind]
    variance = _squared(pull * rest, callers)
    for side in (new == 1, new == 0):
        least = sum(float((pull[side & (kind == one)] ** 2).max()) for one in known)
        variance += max(least - _squared((pull * rest)[side], callers[side]), 0.0)
    ours, theirs = float((pull * values)[new == 1].sum()), 0.0 - float((pull * values)[new == 0].sum())
    return Difference(Estimate(ours - theirs, variance, len(values), len(np.unique(callers))), ours, theirs)


def _squared(influence: Numbers, callers: Whole) -> float:
    """The variance of the sum of what each observation adds to an estimate."""
    _, index = np.unique(callers, return_inverse=True)
    sums = np.bincount(index, influence)
    correction = len(sums) / (len(sums) - 1) if len(sums) > 1 else 1.0
    return float((sums**2).sum() * correction)
