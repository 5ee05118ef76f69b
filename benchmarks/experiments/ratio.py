"""Experiments whose callers fall to the variants as they should, or not: whether a fault of the shares is found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.simulate import Curve, Recorded, so_far
from cli.ab.sequence import ratio_evidence
from cli.ab.share import RATIO_ALPHA

_LOOK_EVERY = 10


@dataclass(frozen=True, eq=False)
class RatioOutcome(Recorded):
    """What the check of the shares says, looking after every tenth caller.

    Attributes:
        false_alarms: share of experiments with the right shares that it blocked.
        found: share of experiments with a fault of two points (50 that are 52) that it blocked.
        found_after: median number of callers until then.
        alarms, finds: float64 [callers], shares that were blocked so far.
    """

    false_alarms: float
    found: float
    found_after: int
    alarms: Curve
    finds: Curve


def simulate_ratio(experiments: int, callers: int, seed: int) -> RatioOutcome:
    """Experiments whose shares should be 50 : 50.

    Args:
        experiments: 1 or more, of each kind.
        callers: of each.
        seed: equal seeds give equal outcomes.
    """
    random = np.random.default_rng(seed)
    half = np.array([0.5, 0.5])

    def blocked(share: float) -> int | None:
        ones = np.cumsum(random.random(callers) < share)
        for seen in range(_LOOK_EVERY, callers + 1, _LOOK_EVERY):
            counts = np.array([seen - ones[seen - 1], ones[seen - 1]], np.int64)
            if ratio_evidence(counts, half) >= math.log(1 / RATIO_ALPHA):
                return seen
        return None

    wrong, right = ([after for _ in range(experiments) if (after := blocked(share))] for share in (0.5, 0.52))
    return RatioOutcome(
        false_alarms=len(wrong) / experiments,
        found=len(right) / experiments,
        found_after=int(np.median(right)) if right else callers,
        alarms=so_far(wrong, callers, experiments),
        finds=so_far(right, callers, experiments),
    )
