"""How many labels a question needs before it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from cli.ab.levels import DECIDING_SHARE
from cli.ab.sequence import SCALE, half_width
from cli.ab.verdict import LEAST_CALLERS, LEAST_LABELS

MOST_LABELS = 100_000_000


@dataclass(frozen=True)
class Plan:
    """What to expect of an experiment.

    Attributes:
        labels: of both variants together, so that a difference of the wanted size is found with the wanted
            probability; of pairs, that each face is labelled once.
        variance_factor: how much more labels count for little because callers repeat (the design effect, 1 or more).
    """

    labels: int
    variance_factor: float

    def days(self, labels_per_day: float) -> float:
        """How long that takes.

        Raises:
            ValueError: no label comes.
        """
        if not 0 < labels_per_day < math.inf:
            raise ValueError(f"labels_per_day: must be above 0, not {labels_per_day:g}")
        return self.labels / labels_per_day


def plan(
    baseline: float,
    effect: float,
    *,
    share: float = 0.5,
    alpha: float = 0.05,
    variants: int = 1,
    power: float = 0.8,
    labels_per_caller: float = 1.0,
    likeness: float = 0.0,
    disagreement: float | None = None,
    scale: float = SCALE,
) -> Plan:
    """Labels for a difference of `effect` between the accuracies of two variants.

    The number is that at which the interval of `cli.ab.sequence` excludes 0 with probability `power` at that very
    moment; as it may do so before, the true power is a little higher. Both sides then have, with the same probability,
    as many labels and callers as any verdict needs.

    Args:
        baseline: accuracy of the present variant, in (0, 1).
        effect: the difference to be found, above 0; baseline + effect below 1.
        share: of the labels that fall to the new variant, in (0, 1).
        alpha: probability that `ferry ab report`, guardrails and all, is wrong without a difference, in (0, 1).
        variants: new ones in the same report, 1 or more.
        power: probability of a verdict where there is one, in (0, 1).
        labels_per_caller: of the caller that a label comes from, on average, 1 or more; where a few callers send
            most, it is more than labels divided by callers.
        likeness: correlation of the answers to one caller, in [0, 1).
        disagreement: share of faces that one variant has right and the other wrong, where both answer each face
            (shadow); at least `effect`. None: each face is answered by one.
        scale: see `cli.ab.sequence.interval`.

    Raises:
        ValueError: a number out of its range; the message names it.
    """
    # Written so that NaN fails too.
    _check_shares(baseline=baseline, share=share, alpha=alpha, power=power)
    if variants < 1:
        raise ValueError(f"variants: must be 1 or more, not {variants}")
    if not 0 < effect < 1 - baseline:
        raise ValueError(f"effect: must be above 0 and, with the baseline, below 1, not {effect:g}")
    if not 1 <= labels_per_caller < math.inf:
        raise ValueError(f"labels_per_caller: must be 1 or more, not {labels_per_caller:g}")
    if not 0 <= likeness < 1:
        raise ValueError(f"likeness: must be 0 or more and below 1, not {likeness:g}")
    if disagreement is not None and not effect <= disagreement <= 1:
        raise ValueError(f"disagreement: must be at least the effect and at most 1, not {disagreement:g}")
    factor = 1 + (labels_per_caller - 1) * likeness
    if disagreement is None:
        better = baseline + effect
        unit = baseline * (1 - baseline) / (1 - share) + better * (1 - better) / share
    else:
        unit = disagreement - effect**2
    level = DECIDING_SHARE * alpha / variants
    quantile = NormalDist().inv_cdf(power)
    either = -NormalDist().inv_cdf((1 - power) / 2)
    least = max(LEAST_LABELS, LEAST_CALLERS * labels_per_caller)

    def enough(labels: int) -> bool:
        if of_either_side(labels) < least:
            return False
        variance = unit * factor / labels
        return half_width(variance, level, scale) + quantile * math.sqrt(variance) <= effect

    def of_either_side(labels: int) -> float:
        """Labels that either side has with the wanted probability, however they fall; of pairs both have all."""
        if disagreement is not None:
            return labels
        part = min(share, 1 - share)
        return part * labels - either * math.sqrt(part * (1 - part) * labels)

    return Plan(_smallest(enough), factor)


def _smallest(enough: Callable[[int], bool]) -> int:
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_LABELS:
            raise ValueError(f"effect: so small a difference needs more than {MOST_LABELS:,} labels")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check_shares(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:  # so that NaN fails too
            raise ValueError(f"{name}: must lie between 0 and 1, not {value:g}")
