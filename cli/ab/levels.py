"""How what may be wrong is divided among variants and metrics, so that false verdicts do not add up."""

from __future__ import annotations

from collections.abc import Sequence

from cli.ab.metric import GUARDRAILS, Metric

DECIDING_SHARE = 0.8
"""Of what may be wrong; guardrails share the rest. An even split among four would cost an experiment a third more
labels, this one costs a twentieth, and guardrails have each answer to go by, not only those with labels."""


def levels(metrics: Sequence[Metric], alpha: float, variants: int) -> dict[Metric, float]:
    """At which level each metric of each variant is judged (Bonferroni, weighted).

    Each variant has an even share of `alpha`. Of that, the deciding metric has DECIDING_SHARE and guardrails the rest
    in even parts; without a guardrail it has all. Metrics that decide nothing are judged at the deciding one's level,
    each for itself.

    Args:
        metrics: the first decides.
        alpha: of all verdicts together, in (0, 1).
        variants: compared with the old one, 1 or more.
    """
    each = alpha / variants
    guards = GUARDRAILS & set(metrics) - {metrics[0]}
    if not guards:
        return dict.fromkeys(metrics, each)
    of_guard = (1 - DECIDING_SHARE) * each / len(guards)
    return {metric: of_guard if metric in guards else DECIDING_SHARE * each for metric in metrics}
