"""When a variant hurts: more errors, more degraded answers or slower ones than the old one, beyond chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cli.rollout.judge.reading import Counts, quantile_bound

ALPHA = 1e-4
"""Of one look at one guardrail; there is a look every two seconds, with overlapping windows."""
LEAST = 50
"""Images or answers of the old variant before its rates and its p95 are believed."""
_UNKNOWN = 0.2
"""What is tolerated where nothing is known of the old variant; it should have been asked before it is idle."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse than the old variant a new one may be.

    Attributes:
        errors: share of images.
        degraded: share of answers.
        slower: factor of the 95th percentile.
    """

    errors: float = 0.02
    degraded: float = 0.05
    slower: float = 1.5


def broken(new: Counts, old: Counts, limits: Limits) -> str:
    """Why the new variant hurts, in words; empty where it does not, or too little was counted to say so.

    An old variant that is idle has no rates: not to have failed because nobody asked is no reference.
    """
    for name, bad, whole, old_bad, old_whole, allowed in (
        ("errors", new.failed, new.asked, old.failed, old.asked, limits.errors),
        ("degraded answers", new.degraded, new.answered, old.degraded, old.answered, limits.degraded),
    ):
        if old_whole < LEAST:
            if whole and tail(min(bad, whole), whole, _UNKNOWN) < ALPHA:
                return (
                    f"{name}: {bad / whole:.1%} of {whole:.0f}, more than a fifth; of the old one too little is known"
                )
            continue
        reference = old_bad / old_whole
        if whole and tail(min(bad, whole), whole, min(reference + allowed, 1.0)) < ALPHA:
            return f"{name}: {bad / whole:.1%} of {whole:.0f}, of the old one {reference:.1%}"
    return _slow(new, old, limits)


def _slow(new: Counts, old: Counts, limits: Limits) -> str:
    if sum(old.computed.values()) < LEAST:
        return ""
    p95 = quantile_bound(old, 0.95)
    if p95 is None or not math.isfinite(p95):
        return ""
    # Histograms know the bounds of their buckets alone: the first one that is certainly beyond what is allowed.
    bound = next((b for b in sorted(new.computed) if b >= limits.slower * p95), math.inf)
    whole = sum(new.computed.values())
    slow = sum(count for upper, count in new.computed.items() if upper > bound)
    # Twice the share that a p95 leaves: as much slower would still be chance.
    if whole and tail(slow, whole, 0.1) < ALPHA:
        return (
            f"latency: {slow / whole:.1%} of {whole:.0f} computed answers took more than {bound:g} s; p95 was {p95:g} s"
        )
    return ""


def tail(successes: float, trials: float, share: float) -> float:
    """The probability of so many successes or more by chance (binomial).

    Args:
        successes: 0 to trials.
        trials: above 0.
        share: probability of each, [0, 1].
    """
    k, n = round(successes), round(trials)
    if k <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    if k <= n * share:
        return 1.0  # not worse than expected: no need to know how likely exactly
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log + k * math.log(share) + (n - k) * math.log1p(-share))
    total = 0.0
    for i in range(k, n + 1):
        total += term
        if term < total * 1e-12:
            break
        term *= (n - i) / (i + 1) * share / (1 - share)
    return min(total, 1.0)
