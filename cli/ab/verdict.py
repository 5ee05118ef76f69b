"""What an interval means, in words."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from cli.ab.estimate import Estimate
from cli.ab.sequence import Interval, interval

LEAST_LABELS = 100
"""Observations of each side before an interval is believed: a mean of fewer is not yet normal."""

LEAST_CALLERS = 20
"""Callers of each side, likewise."""


class Verdict(enum.Enum):
    """What is known of a difference; a positive one is in favour of the new variant."""

    BETTER = "better"
    WORSE = "worse"
    ALIKE = "alike"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Judgement:
    """A difference and what follows from it.

    Attributes:
        estimate: new variant less old.
        interval: where the true difference lies; endless on both sides as long as there is too little to say.
        verdict: BETTER or WORSE where 0 is outside, ALIKE where all of it lies within `margin` of 0.
        margin: the largest difference that does not matter.
        more: about how many observations until a difference as large as the present one, or as the margin, is decided;
            None: more of them alone decide nothing, or it is decided.
        callers: of the side that has fewer, where they are too few for a verdict; None: they are enough.
    """

    estimate: Estimate
    interval: Interval
    verdict: Verdict
    margin: float
    more: int | None
    callers: int | None = None


def judge(
    estimate: Estimate, least: tuple[int, int], alpha: float, margin: float, *, higher_is_better: bool = True
) -> Judgement:
    """The verdict on a difference.

    Args:
        estimate: new variant less old.
        least: observations and callers of the side that has fewer.
        alpha: share of all experiments without a difference in which a verdict may be wrong at any time, in (0, 1);
            already divided by the number of comparisons.
        margin: above 0, in the estimate's unit.
        higher_is_better: whether a positive difference speaks for the new variant.
    """
    labels, callers = least
    if labels < LEAST_LABELS or callers < LEAST_CALLERS:
        unknown = Interval(-math.inf, math.inf)
        more = 2 * (LEAST_LABELS - labels) if labels < LEAST_LABELS else None
        few = callers if callers < LEAST_CALLERS else None
        return Judgement(estimate, unknown, Verdict.UNDECIDED, margin, more, few)
    where = interval(estimate, alpha)
    if 0 not in where:
        verdict = Verdict.BETTER if (where.low > 0) == higher_is_better else Verdict.WORSE
    elif -margin <= where.low and where.high <= margin:
        verdict = Verdict.ALIKE
    else:
        verdict = Verdict.UNDECIDED
    return Judgement(
        estimate, where, verdict, margin, _more(estimate, alpha, margin) if verdict is Verdict.UNDECIDED else None
    )


def in_points(judgement: Judgement, new: str, old: str) -> str:
    """One sentence on a difference of shares, in percentage points."""
    where, value = judgement.interval, 100 * judgement.estimate.value
    if judgement.verdict is Verdict.ALIKE:
        return f"no difference larger than {100 * judgement.margin:g} point{'s' if judgement.margin != 0.01 else ''}"
    if judgement.verdict is Verdict.UNDECIDED:
        needs = [f"about {judgement.more:,} more labels"] if judgement.more else []
        if judgement.callers is not None:
            needs.append(f"{LEAST_CALLERS} callers on each side, where one has {judgement.callers}")
        return f"not decided: needs {' and '.join(needs)}" if needs else "not decided"
    low, high = sorted((abs(100 * where.low), abs(100 * where.high)))
    return f"{new} is {judgement.verdict.value} than {old} by {abs(value):.1f} points ({low:.1f} to {high:.1f})"


def _more(estimate: Estimate, alpha: float, margin: float) -> int | None:
    """Observations still missing until the interval is as narrow as the difference that is seen, or as the margin."""
    wanted = max(abs(estimate.value), margin)
    low, high = 1.0, 1.0
    while interval(_thinned(estimate, high), alpha).width / 2 > wanted:
        high *= 2
        if high > 1e6:
            return None
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        if interval(_thinned(estimate, middle), alpha).width / 2 > wanted:
            low = middle
        else:
            high = middle
    missing = estimate.n * (high - 1)
    return max(int(float(f"{missing:.2g}")), 1)


def _thinned(estimate: Estimate, times: float) -> Estimate:
    return Estimate(estimate.value, estimate.variance / times, estimate.n, estimate.callers)
