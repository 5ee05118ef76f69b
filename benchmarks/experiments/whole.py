"""Whole reports without any difference: three new variants, the accuracy and three guardrails of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from benchmarks.experiments.running import Numbers, Whole, follow
from benchmarks.experiments.scenario import BASELINE
from benchmarks.experiments.simulate import ALPHA, Curve, Recorded, so_far
from cli.ab.levels import levels
from cli.ab.metric import Metric, judge_latency
from cli.ab.verdict import Verdict

VARIANTS = 3
FAILING, DEGRADED = 0.02, 0.05
MEDIAN_MS, SPREAD = 60.0, 0.4
"""Of latencies, lognormal."""
_LATENCY_LOOKS = 10
Levels: TypeAlias = Mapping[Metric, float]
METRICS = (Metric.ACCURACY, Metric.LATENCY, Metric.ERRORS, Metric.DEGRADED)


@dataclass(frozen=True, eq=False)
class WholeOutcome(Recorded):
    """How often a report called any variant better, worse or harmful, at any look.

    Attributes:
        false_alarms: share of experiments, each metric at its share of the level.
        uncorrected: the same where each metric of each variant has the whole level.
        alarms, uncorrected_alarms: float64 [labels], shares so far.
    """

    false_alarms: float
    uncorrected: float
    alarms: Curve
    uncorrected_alarms: Curve


def simulate_whole(experiments: int, labels: int, seed: int) -> WholeOutcome:
    """Four equal variants share the labels, each label from another caller; a look after every one.

    The latency is looked at after every tenth part.

    Args:
        experiments: 1 or more.
        labels: of all variants together.
        seed: equal seeds give equal outcomes.
    """
    random = np.random.default_rng(seed)
    rules = (levels(METRICS, ALPHA, VARIANTS), dict.fromkeys(METRICS, ALPHA))
    wrong: tuple[list[int], list[int]] = ([], [])
    for _ in range(experiments):
        arms = random.integers(0, VARIANTS + 1, labels)
        values = {
            Metric.ACCURACY: (random.random(labels) < BASELINE).astype(float),
            Metric.ERRORS: (random.random(labels) < FAILING).astype(float),
            Metric.DEGRADED: (random.random(labels) < DEGRADED).astype(float),
            Metric.LATENCY: random.lognormal(np.log(MEDIAN_MS), SPREAD, labels),
        }
        found: tuple[list[int], list[int]] = ([], [])
        for arm in range(1, VARIANTS + 1):
            for which, after in _verdicts(values, arms, arm, rules):
                found[which].append(after)
        for into, firsts in zip(wrong, found, strict=True):
            if firsts:
                into.append(min(firsts))
    shares = [so_far(after, labels, experiments) for after in wrong]
    return WholeOutcome(float(shares[0][-1]), float(shares[1][-1]), shares[0], shares[1])


def _verdicts(
    values: dict[Metric, Numbers], arms: Whole, arm: int, rules: Sequence[Levels]
) -> Iterator[tuple[int, int]]:
    """By which rule, and after how many labels of all, a metric gave this variant a verdict; a guardrail: worse."""
    mine = np.flatnonzero((arms == 0) | (arms == arm))
    for metric in (Metric.ACCURACY, Metric.ERRORS, Metric.DEGRADED):
        running = follow(values[metric][mine], (arms[mine] == arm).astype(np.int64), np.arange(len(mine)))
        for which, level in enumerate(rules):
            after = running.first(level[metric], rising=metric is not Metric.ACCURACY)
            if after is not None:
                yield which, int(mine[after - 1]) + 1
    for end in np.linspace(0, len(arms), _LATENCY_LOOKS + 1).astype(int)[1:]:
        taken = values[Metric.LATENCY][:end]
        new, old = taken[arms[:end] == arm], taken[arms[:end] == 0]
        for which, level in enumerate(rules):
            if judge_latency(new, old, level[Metric.LATENCY]).verdict is Verdict.WORSE:
                yield which, int(end)
