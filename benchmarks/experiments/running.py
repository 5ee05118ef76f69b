"""The interval after every label of one experiment, computed all at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cli.ab.sequence import SCALE
from cli.ab.verdict import LEAST_CALLERS, LEAST_LABELS

Numbers = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Running:
    """Estimates of a difference after each label.

    Attributes:
        difference: float64 [N], mean of arm 1 less mean of arm 0; 0 before both have one.
        variance: float64 [N], see `cli.ab.estimate.mean`.
        ready: bool [N], whether there is enough for a verdict.
    """

    difference: Numbers
    variance: Numbers
    ready: npt.NDArray[np.bool_]

    def decided(self, alpha: float, scale: float = SCALE) -> npt.NDArray[np.bool_]:
        """bool [N]: 0 lies outside the interval of `cli.ab.sequence`."""
        total = self.variance + scale**2
        half = np.sqrt(2 * self.variance * total / scale**2 * (np.log(1 / alpha) + np.log(total / self.variance) / 2))
        outside: npt.NDArray[np.bool_] = self.ready & (np.abs(self.difference) > half)
        return outside

    def first(self, alpha: float, *, rising: bool = False) -> int | None:
        """After how many labels there was a verdict; `rising`: one that arm 1 has more. None: never."""
        found = np.flatnonzero(self.decided(alpha) & (self.difference > 0) if rising else self.decided(alpha))
        return int(found[0]) + 1 if len(found) else None

    def decided_by_common_interval(self, quantile: float = 1.96) -> npt.NDArray[np.bool_]:
        """bool [N]: 0 lies outside the interval that is right for one look only."""
        return self.ready & (np.abs(self.difference) > quantile * np.sqrt(self.variance))


def follow(right: Numbers, arms: Whole, callers: Whole) -> Running:
    """The difference of two arms after each label.

    Args:
        right: float64 [N], 1 or 0.
        arms: int64 [N], 0 or 1; a caller is of one arm.
        callers: int64 [N].
    """
    parts = [_arm(right, arms == arm, callers) for arm in (0, 1)]
    both = parts[0].ready & parts[1].ready
    return Running(parts[1].difference - parts[0].difference, parts[0].variance + parts[1].variance, both)


def follow_pairs(differences: Numbers) -> Running:
    """The mean of paired differences after each pair; each pair is a caller's of its own."""
    return _arm(differences, np.ones(len(differences), bool), np.arange(len(differences)))


def _arm(values: Numbers, mine: npt.NDArray[np.bool_], callers: Whole) -> Running:
    """The mean of an arm's own values after each label of either."""
    own, whose = values[mine], callers[mine]
    sums, counts = _before(own, whose)
    seen = np.arange(1, len(own) + 1)
    mean = np.cumsum(own) / seen
    squares = np.cumsum(2 * sums * own + own**2)
    products = np.cumsum(sums + own * (counts + 1))
    sizes = np.cumsum(2 * counts + 1)
    groups = np.cumsum(counts == 0)
    correction = groups / np.maximum(groups - 1, 1)
    variance = (squares - 2 * mean * products + mean**2 * sizes) * correction / seen**2
    variance = np.maximum(variance, 1 / seen**2)
    ready = (seen >= LEAST_LABELS) & (groups >= LEAST_CALLERS)
    at = np.cumsum(mine) - 1  # the arm's latest label
    started = at >= 0
    return Running(
        np.where(started, mean[at], 0.0), np.where(started, variance[at], 1.0), np.where(started, ready[at], False)
    )


def _before(values: Numbers, callers: Whole) -> tuple[Numbers, Numbers]:
    """What each label's caller had before it: the sum of values and their number."""
    order = np.argsort(callers, kind="stable")
    grouped, owners = values[order], callers[order]
    first = np.concatenate([[True], owners[1:] != owners[:-1]])
    start = np.flatnonzero(first)[np.cumsum(first) - 1]
    total = np.concatenate([[0.0], np.cumsum(grouped)])
    sums, counts = np.empty(len(values)), np.empty(len(values))
    sums[order] = total[:-1] - total[start]
    counts[order] = np.arange(len(values)) - start
    return sums, counts
