"""The metrics of a comparison: what is observed of each side, and the judgement on the difference."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from cli.ab.estimate import Difference, Estimate, Numbers, Whole, difference, mean
from cli.ab.sequence import Interval, interval, quantile_interval
from cli.ab.series import Series
from cli.ab.sides import Sides
from cli.ab.verdict import LEAST_LABELS, Judgement, Verdict, in_points, judge

P95_MARGIN = 0.1
"""Share of the old p95 that does not matter."""
_LOOKS = 60
"""Most earlier moments at which a verdict is looked up, to say since when it holds."""


class Metric(enum.StrEnum):
    """What variants are compared by."""

    ACCURACY = "accuracy"
    MACRO_RECALL = "macro-recall"
    AGREEMENT = "agreement"
    LATENCY = "latency-p95"
    ERRORS = "errors"
    DEGRADED = "degraded"


GUARDRAILS = frozenset({Metric.LATENCY, Metric.ERRORS, Metric.DEGRADED})
"""A new variant that is worse here is worse, whatever else it is."""


@dataclass(frozen=True)
class Finding:
    """One metric of one comparison.

    Attributes:
        metric: which.
        paired: whether both sides answered the same faces.
        n: observations of the new variant and of the old one.
        callers: behind them.
        apart: observations besides, of routing tables under which only one of both had callers.
        tables: routing tables under which both had.
        new, old: what each has; None where nothing was observed.
        judgement: on the difference.
        since: when the verdict became what it is, Unix time; None where there is none.
        path: how the interval became what it is: time, low, high.
        words: all of it in a sentence.
    """

    metric: Metric
    paired: bool
    n: tuple[int, int]
    callers: tuple[int, int]
    apart: int
    tables: int
    new: float | None
    old: float | None
    judgement: Judgement
    since: float | None
    path: tuple[tuple[float, float, float], ...]
    words: str

    @property
    def broken(self) -> bool:
        """Whether a guardrail says that the new variant hurts."""
        return self.metric in GUARDRAILS and self.judgement.verdict is Verdict.WORSE


def find(metric: Metric, sides: Sides, alpha: float, margin: float) -> Finding:
    """Judges one metric.

    Args:
        metric: which.
        sides: the observations.
        alpha: as for `cli.ab.verdict.judge`.
        margin: the largest difference of shares that does not matter; for latency `P95_MARGIN` counts.
    """
    if metric is Metric.AGREEMENT:
        return _agreement(sides, alpha, margin)
    pairs = sides.of_labelled_pairs() if metric is Metric.ACCURACY else None
    paired = pairs is not None and len(pairs) >= LEAST_LABELS
    if pairs is not None and paired:
        all_new = all_old = pairs
    else:
        all_new, all_old = _observed(metric, sides, sides.new), _observed(metric, sides, sides.old)
    new, old = all_new.beside(all_old), all_old.beside(all_new)
    apart = len(all_new) - len(new) + len(all_old) - len(old)
    if metric is Metric.LATENCY:
        new, old, place = _newest_table(new, old)
        alpha /= place * (place + 1)

    def at(time: float) -> Judgement:
        return _judge(metric, new.until(time), old.until(time), alpha, margin, paired=paired)

    judgement = at(math.inf)
    path, since = _history(at, new, old, judgement)
    values = (None, None) if paired else _values(metric, new, old)
    return Finding(
        metric,
        paired,
        n=(len(new), len(old)),
        callers=(_callers(new), _callers(old)),
        apart=apart,
        tables=len(np.unique(new.tables)),
        new=values[0],
        old=values[1],
        judgement=judgement,
        since=since,
        path=path,
        words=_words(metric, judgement, sides, values, since),
    )


def _observed(metric: Metric, sides: Sides, name: str) -> Series:
    if metric in {Metric.ACCURACY, Metric.MACRO_RECALL}:
        return sides.of_labels(name)
    if metric is Metric.ERRORS:
        return sides.of_images(name)
    if metric is Metric.DEGRADED:
        return sides.of_computed(name, lambda one: float(one.degraded))
    return sides.of_computed(name, lambda one: one.milliseconds)


def _newest_table(new: Series, old: Series) -> tuple[Series, Series, int]:
    """Of the newest routing table under which both have enough callers, one observation each; and which it is in time.

    Quantiles of several tables cannot be joined as means can: a canary that grew while the load did would be slower for
    it. The k-th table is judged at 1 / (k (k + 1)) of the level, so that all of them together are within it.
    """
    both = new.then(old)
    tables, first = np.unique(both.tables[np.argsort(both.times, kind="stable")], return_index=True)
    in_time = tables[np.argsort(first)]
    for place in range(len(in_time), 0, -1):
        ours, theirs = (
            _first_of_each(side.at(np.flatnonzero(side.tables == in_time[place - 1]))) for side in (new, old)
        )
        if place == 1 or min(len(ours), len(theirs)) >= LEAST_LABELS:
            return ours, theirs, place
    return new, old, 1


def _first_of_each(found: Series) -> Series:
    """One observation a caller: those of one caller are not independent, and quantiles have no clustered form here."""
    _, first = np.unique(found.callers, return_index=True)
    first.sort()
    return found.at(first)


def _judge(metric: Metric, new: Series, old: Series, alpha: float, margin: float, *, paired: bool) -> Judgement:
    if metric is Metric.LATENCY and len(new) and len(old):
        return judge_latency(new.values, old.values, alpha)
    if paired and len(new):
        estimate: Estimate | None = mean(new.values, new.callers)
    else:
        found = _difference(metric, new, old)
        estimate = None if found is None else found.estimate
    if estimate is None:
        nothing = Estimate(0.0, 1.0, len(new) + len(old), 0)
        return Judgement(nothing, Interval(-math.inf, math.inf), Verdict.UNDECIDED, margin, 2 * LEAST_LABELS)
    least = min(len(new), len(old)), min(_callers(new), _callers(old))
    return judge(estimate, least, alpha, margin, higher_is_better=metric not in GUARDRAILS)


def _difference(metric: Metric, new: Series, old: Series) -> Difference | None:
    """New less old; None where both have never had callers under one routing table."""
    both = new.then(old)
    kinds = both.truth if metric is Metric.MACRO_RECALL else np.zeros_like(both.truth)
    side: Whole = np.repeat([1, 0], [len(new), len(old)])
    return difference(both.values, side, kinds, both.tables, both.callers)


def judge_latency(new: Numbers, old: Numbers, alpha: float) -> Judgement:
    """Whether the 95th percentile differs.

    Args:
        new, old: float64 [N], N 1 or more, milliseconds, each of a caller of its own.
        alpha: as for `cli.ab.verdict.judge`.
    """
    ours, theirs = (quantile_interval(side, 0.95, alpha / 2) for side in (new, old))
    value = _p95(new) - _p95(old)
    where = Interval(ours.low - theirs.high, ours.high - theirs.low)
    margin = P95_MARGIN * _p95(old)
    if math.isnan(where.low) or math.isnan(where.high):
        where = Interval(-math.inf, math.inf)
    verdict = Verdict.UNDECIDED
    if -margin <= where.low and where.high <= margin:
        verdict = Verdict.ALIKE
    elif where.low > 0:
        verdict = Verdict.WORSE
    elif where.high < 0:
        verdict = Verdict.BETTER
    observed = len(new) + len(old)
    return Judgement(Estimate(value, 0.0, observed, observed), where, verdict, margin, None)


def _agreement(sides: Sides, alpha: float, margin: float) -> Finding:
    found = sides.of_pairs()
    if not len(found):
        nothing = _judge(Metric.AGREEMENT, found, found, alpha, margin, paired=True)
        words = f"{sides.new} has answered no copies of images; `shadow` in the routing table sends them"
        return Finding(Metric.AGREEMENT, True, (0, 0), (0, 0), 0, 0, None, None, nothing, None, (), words)
    estimate = mean(found.values, found.callers)
    where = interval(estimate, alpha)
    shown = Interval(max(where.low, 0.0), min(where.high, 1.0))
    only_old, only_new = sides.unmatched()
    surer = sides.confidence_difference() or 0.0
    words = (
        f"same expression on {estimate.value:.1%} of {len(found):,} faces ({shown.low:.1%} to {shown.high:.1%}); "
        f"{only_old:,} faces found by {sides.old} alone, {only_new:,} by {sides.new} alone; "
        f"{sides.new} is {abs(100 * surer):.1f} points {'surer' if surer >= 0 else 'less sure'} on average"
    )
    judgement = Judgement(estimate, shown, Verdict.UNDECIDED, margin, None)
    n = (len(found), len(found))
    callers = (estimate.callers, estimate.callers)
    return Finding(Metric.AGREEMENT, True, n, callers, 0, 1, estimate.value, None, judgement, None, (), words)


def _history(
    at: Callable[[float], Judgement], new: Series, old: Series, last: Judgement
) -> tuple[tuple[tuple[float, float, float], ...], float | None]:
    """The interval at some earlier moments, and the first from which on the verdict was always the last one."""
    times = np.unique(np.concatenate([new.times, old.times]))
    if not len(times):
        return (), None
    looks = times[np.unique(np.linspace(0, len(times) - 1, min(_LOOKS, len(times))).astype(int))]
    judgements = [at(float(time)) for time in looks]
    path = tuple(
        (float(time), one.interval.low, one.interval.high) for time, one in zip(looks, judgements, strict=True)
    )
    since = None
    for time, one in zip(reversed(looks), reversed(judgements), strict=True):
        if one.verdict is not last.verdict:
            break
        since = float(time)
    return path, since if last.verdict is not Verdict.UNDECIDED else None


def _values(metric: Metric, new: Series, old: Series) -> tuple[float | None, float | None]:
    """What each has; of shares, over the same mix of routing tables."""
    if metric is Metric.LATENCY and len(new) and len(old):
        return _p95(new.values), _p95(old.values)
    found = _difference(metric, new, old)
    return (None, None) if found is None else (found.new, found.old)


def _p95(values: Numbers) -> float:
    return float(np.quantile(values, 0.95))


def _callers(side: Series) -> int:
    return len(np.unique(side.callers))


def _words(
    metric: Metric, judgement: Judgement, sides: Sides, values: tuple[float | None, float | None], since: float | None
) -> str:
    if metric is Metric.LATENCY:
        words = _latency_words(judgement, sides, values)
    elif metric in GUARDRAILS and judgement.verdict is Verdict.UNDECIDED:
        shares = " and ".join(
            f"{name} {value:.2%}"
            for name, value in zip((sides.new, sides.old), values, strict=True)
            if value is not None
        )
        words = f"not decided: {shares or 'nothing was observed'}"
    else:
        words = in_points(judgement, sides.new, sides.old)
    return words if since is None else f"{words}, certain enough since {_when(since)}"


def _latency_words(judgement: Judgement, sides: Sides, values: tuple[float | None, float | None]) -> str:
    new, old = values
    if new is None or old is None:
        return "not decided: computed answers of both variants are needed"
    shown = f"{sides.new} {new:.0f} ms, {sides.old} {old:.0f} ms"
    if judgement.verdict is Verdict.UNDECIDED:
        return f"not decided: {shown}"
    if judgement.verdict is Verdict.ALIKE:
        return f"no difference larger than {judgement.margin:.0f} ms: {shown}"
    speed = "faster" if judgement.verdict is Verdict.BETTER else "slower"
    return f"{sides.new} is {speed} than {sides.old}: {shown}"


def _when(time: float) -> str:
    moment = datetime.fromtimestamp(time).astimezone()
    days = (date.today() - moment.date()).days
    if days == 0:
        return f"today {moment:%H:%M}"
    return f"{moment:%A}" if days < 7 else f"{moment:%Y-%m-%d}"
