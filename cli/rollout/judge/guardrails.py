"""When a variant hurts: more errors, more degraded answers or slower ones than the old one, beyond chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cli.rollout.judge.reading import Counts, quantile_bound

ALPHA = 1e-4
"""Of one look at one guardrail; there is a look every two seconds, with overlapping windows."""
LEAST = 50
"""Images or answers of the old variant before its rates and its p95 are believed."""
_BEYOND_P95 = 0.05
_SEARCH = 30
"""Steps of a search that keeps two thirds: to 5e-6 of the range."""
_UNKNOWN = 0.2
"""What is tolerated where nothing is known of the old variant; it should have been asked before it is idle."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse than the old variant a new one may be.

    Attributes:
        errors: share of the images that it had to compute.
        degraded: share of its computed answers.
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
        ("errors", new.failed, new.tried, old.failed, old.tried, limits.errors),
        ("degraded answers", new.degraded, new.answered, old.degraded, old.answered, limits.degraded),
    ):
        if old_whole < LEAST:
            if whole and tail(min(bad, whole), whole, _UNKNOWN) < ALPHA:
                return (
                    f"{name}: {bad / whole:.1%} of {whole:.0f}, more than a fifth; of the old one too little is known"
                )
            continue
        if whole and by_chance(min(bad, whole), whole, min(old_bad, old_whole), old_whole, allowed) < ALPHA:
            return (
                f"{name}: {bad / whole:.1%} of {whole:.0f}, of the old one {old_bad / old_whole:.1%} of {old_whole:.0f}"
            )
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
    # Twice the share that a p95 leaves is tolerated.
    of_old = sum(old.computed.values())
    if whole and by_chance(slow, whole, _BEYOND_P95 * of_old, of_old, _BEYOND_P95) < ALPHA:
        return (
            f"latency: {slow / whole:.1%} of {whole:.0f} computed answers took more than {bound:g} s; p95 was {p95:g} s"
        )
    return ""


def by_chance(bad: float, whole: float, old_bad: float, old_whole: float, allowed: float) -> float:
    """Upper bound of the p-value of "the new one's rate is at most the old one's rate and what is allowed".

    Whatever the old one's true rate r, two exact binomial tests are independent: that the old one has so few where r
    is its rate, and the new one so many where its rate is r + allowed. Their p-values are joined by Fisher's method
    (Statistical Methods for Research Workers, 1932): of a product t of two, t (1 - ln t) is the probability of one as
    small by chance. The r that is kindest to the new one counts, so a few images of the old one without an error do
    not say that it never has one.

    Args:
        bad, old_bad: 0 to the whole, of the new and of the old one.
        whole, old_whole: above 0.
        allowed: share, 0 or more.
    """
    low, high = old_bad / old_whole, bad / whole - allowed
    if high <= low:
        return 1.0

    def product(rate: float) -> float:
        few = tail(old_whole - old_bad, old_whole, 1 - rate)
        return few * tail(bad, whole, rate + allowed)

    product_max = max(product(low), product(high))
    # Each tail is log-concave in the rate (a distribution function of a beta), and so is their product.
    for _ in range(_SEARCH):
        third = (high - low) / 3
        left, right = product(low + third), product(high - third)
        product_max = max(product_max, left, right)
        low, high = (low + third, high) if left < right else (low, high - third)
    return product_max * (1 - math.log(product_max)) if product_max > 0 else 0.0


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
        if term <= total * 1e-12:  # also where all of them are too small for a float
            break
        term *= (n - i) / (i + 1) * share / (1 - share)
    return min(total, 1.0)
