"""Many experiments of a kind: how often a verdict is false, and how often a true difference is found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.experiments.scenario import Scenario
from cli.ab.levels import levels
from cli.ab.metric import Metric
from cli.ab.plan import plan

ALPHA = 0.05
"""Of a report."""
LEVEL = levels(tuple(Metric), ALPHA, 1)[Metric.ACCURACY]
"""Of the accuracy in it."""

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recorded:
    """What came of experiments of one kind."""

    def record(self) -> dict[str, Any]:
        """As plain values, without the curves."""
        return {key: value for key, value in asdict(self).items() if not isinstance(value, np.ndarray)}


@dataclass(frozen=True, eq=False)
class Outcome(Recorded):
    """What became of the experiments of one scenario.

    Attributes:
        name: of the scenario.
        false_alarms: share of experiments without a difference that had a verdict at any look, of this rule.
        common: the same of an interval that is right for one look only.
        planned: labels that `ferry ab plan` asks for.
        power: share of experiments with the difference that had the right verdict by then.
        found_after: median number of labels until the right verdict, of those that had one.
        alarms: float64 [labels], share of experiments without a difference that had had a verdict after each label.
        common_alarms: likewise, of the common interval.
        found: float64 [planned], share of experiments with the difference that had had the right verdict.
    """

    name: str
    false_alarms: float
    common: float
    planned: int
    power: float
    found_after: int
    alarms: Curve
    common_alarms: Curve
    found: Curve


def simulate(scenario: Scenario, experiments: int, labels: int, effect: float, seed: int) -> Outcome:
    """Runs experiments with a look after every label.

    Args:
        scenario: which kind.
        experiments: 1 or more, of each kind: without a difference and with it.
        labels: of those without a difference, 1 or more.
        effect: the true difference of the others, above 0.
        seed: equal seeds give equal outcomes.
    """
    random = np.random.default_rng(seed)
    alarms, common = np.zeros(labels), np.zeros(labels)
    for _ in range(experiments):
        running = scenario.make(random, labels, 0.0)
        alarms += np.logical_or.accumulate(running.decided(LEVEL))
        common += np.logical_or.accumulate(running.decided_by_common_interval())
    planned = plan(effect=effect, alpha=ALPHA, variants=1, **scenario.plan).labels
    found = []
    for _ in range(experiments):
        running = scenario.make(random, planned, effect)
        after = running.first(LEVEL)
        if after is not None and running.difference[after - 1] > 0:
            found.append(after)
    return Outcome(
        name=scenario.name,
        false_alarms=float(alarms[-1] / experiments),
        common=float(common[-1] / experiments),
        planned=planned,
        power=len(found) / experiments,
        found_after=int(np.median(found)) if found else planned,
        alarms=alarms / experiments,
        common_alarms=common / experiments,
        found=so_far(found, planned, experiments),
    )


def so_far(after: list[int], most: int, experiments: int) -> Curve:
    """float64 [most]: share of experiments in which something had happened after 1, 2, ... observations.

    Args:
        after: of those in which it happened, after how many, 1 to `most`.
        most: observations.
        experiments: all of them.
    """
    return np.cumsum(np.bincount(np.array(after, np.int64), minlength=most + 1))[1:] / experiments
