"""Canaries that a judge steps up while pictures become harder: no difference, and means over all of it that differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.running import Numbers, Whole
from benchmarks.experiments.scenario import BASELINE
from benchmarks.experiments.simulate import LEVEL, Curve, Recorded, so_far
from cli.ab.estimate import difference
from cli.ab.sequence import interval
from cli.ab.verdict import LEAST_LABELS

STEPS = (0.01, 0.05, 0.25, 0.5)
"""Shares of the canary, each for as many labels."""
HARDER = 0.2
"""That the accuracy falls by from the first label to the last."""
_LOOKS = 80


@dataclass(frozen=True, eq=False)
class StepsOutcome(Recorded):
    """How often equal variants had a verdict at any look.

    Attributes:
        false_alarms: share of experiments, compared within each routing table.
        pooled: the same of means over all of it.
        alarms, pooled_alarms: float64 [labels], shares so far.
    """

    false_alarms: float
    pooled: float
    alarms: Curve
    pooled_alarms: Curve


def simulate_steps(experiments: int, labels: int, seed: int) -> StepsOutcome:
    """Each label from another caller; a look after every eightieth part.

    Args:
        experiments: 1 or more.
        labels: of each.
        seed: equal seeds give equal outcomes.
    """
    random = np.random.default_rng(seed)
    tables = np.arange(labels) * len(STEPS) // labels
    level = BASELINE - HARDER * np.linspace(0, 1, labels)
    wrong: tuple[list[int], list[int]] = ([], [])
    for _ in range(experiments):
        new = (random.random(labels) < np.array(STEPS)[tables]).astype(np.int64)
        right = (random.random(labels) < level).astype(float)
        for found, strata in zip(wrong, (tables, np.zeros_like(tables)), strict=True):
            after = _first(right, new, strata)
            if after is not None:
                found.append(after)
    shares = [so_far(after, labels, experiments) for after in wrong]
    return StepsOutcome(float(shares[0][-1]), float(shares[1][-1]), shares[0], shares[1])


def _first(right: Numbers, new: Whole, strata: Whole) -> int | None:
    """After how many labels there was a verdict; None: never."""
    callers, kinds = np.arange(len(right)), np.zeros_like(new)
    for end in np.linspace(0, len(right), _LOOKS + 1).astype(int)[1:]:
        if min(new[:end].sum(), end - new[:end].sum()) < LEAST_LABELS:
            continue
        found = difference(right[:end], new[:end], kinds[:end], strata[:end], callers[:end])
        if found is not None and 0 not in interval(found.estimate, LEVEL):
            return int(end)
    return None
