"""Many experiments of a kind: how often a verdict is false, and how often a true difference is found."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.experiments.scenario import Scenario
from cli.ab.plan import plan
from cli.ab.sequence import ratio_evidence

ALPHA = 0.05
RATIO_ALPHA = 0.01


@dataclass(frozen=True, eq=False)
class Outcome:
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
    """

    name: str
    false_alarms: float
    common: float
    planned: int
    power: float
    found_after: int
    alarms: npt.NDArray[np.float64]
    common_alarms: npt.NDArray[np.float64]

    def record(self) -> dict[str, Any]:
        """As plain values, without the curves."""
        return {key: value for key, value in asdict(self).items() if "_alarms" not in key or key == "false_alarms"}


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
        alarms += np.logical_or.accumulate(running.decided(ALPHA))
        common += np.logical_or.accumulate(running.decided_by_common_interval())
    planned = plan(effect=effect, alpha=ALPHA, **scenario.plan).labels
    found = []
    for _ in range(experiments):
        running = scenario.make(random, planned, effect)
        decided = np.flatnonzero(running.decided(ALPHA))
        if len(decided) and running.difference[decided[0]] > 0:
            found.append(int(decided[0]) + 1)
    return Outcome(
        name=scenario.name,
        false_alarms=float(alarms[-1] / experiments),
        common=float(common[-1] / experiments),
        planned=planned,
        power=len(found) / experiments,
        found_after=int(np.median(found)) if found else planned,
        alarms=alarms / experiments,
        common_alarms=common / experiments,
    )


@dataclass(frozen=True)
class RatioOutcome:
    """What the check of the shares says, looking after every tenth caller.

    Attributes:
        false_alarms: share of experiments with the right shares that it blocked.
        found: share of experiments with a fault of two points (50 that are 52) that it blocked.
        found_after: median number of callers until then.
    """

    false_alarms: float
    found: float
    found_after: int


def simulate_ratio(experiments: int, callers: int, seed: int) -> RatioOutcome:
    """Experiments whose shares should be 50 : 50; arguments as in `simulate`."""
    random = np.random.default_rng(seed)
    half = np.array([0.5, 0.5])

    def blocked(share: float) -> int | None:
        ones = np.cumsum(random.random(callers) < share)
        for seen in range(10, callers + 1, 10):
            counts = np.array([seen - ones[seen - 1], ones[seen - 1]], np.int64)
            if ratio_evidence(counts, half) >= math.log(1 / RATIO_ALPHA):
                return seen
        return None

    wrong = [blocked(0.5) for _ in range(experiments)]
    right = [after for _ in range(experiments) if (after := blocked(0.52)) is not None]
    return RatioOutcome(
        false_alarms=sum(after is not None for after in wrong) / experiments,
        found=len(right) / experiments,
        found_after=int(np.median(right)) if right else callers,
    )
