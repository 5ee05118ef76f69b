"""How far one distribution of answers is from another: by how much, and whether that can be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence


def psi(reference: Sequence[float], present: Sequence[float]) -> float:
    """The population stability index of two distributions over the same cells: sum of (p - q) ln(p / q), 0 or more.

    As in credit scoring (Siddiqi, "Credit Risk Scorecards", 2006): below 0.1 nothing to speak of, above 0.25 another
    population. Half a count is added to each cell, so that an empty one is no infinity.

    Args:
        reference, present: counts, each with one above 0.
    """
    whole, now = sum(reference) + len(reference) / 2, sum(present) + len(present) / 2
    total = 0.0
    for one, other in zip(reference, present, strict=True):
        p, q = (other + 0.5) / now, (one + 0.5) / whole
        total += (p - q) * math.log(p / q)
    return total


def two_sample(reference: Sequence[float], present: Sequence[float]) -> float:
    """The probability of two samples so different, or more, where both come from one distribution (Pearson's test).

    Args:
        reference, present: counts.

    Returns:
        [0, 1]; 1 where there is too little to say: fewer than 5 expected in all but one cell.
    """
    whole, now = sum(reference), sum(present)
    if not whole or not now:
        return 1.0
    statistic, cells = 0.0, 0
    for one, other in _merged(reference, present):
        both = one + other
        for seen, of in ((one, whole), (other, now)):
            expected = both * of / (whole + now)
            statistic += (seen - expected) ** 2 / expected
        cells += 1
    return 1.0 if cells < 2 else _chi_square_tail(statistic, cells - 1)


def _merged(reference: Sequence[float], present: Sequence[float]) -> list[tuple[float, float]]:
    """Cells side by side, neighbours put together until each is expected to hold 5 of either sample."""
    whole, now = sum(reference), sum(present)
    least = 5 * (whole + now) / min(whole, now)
    merged: list[tuple[float, float]] = []
    one = other = 0.0
    for a, b in zip(reference, present, strict=True):
        one, other = one + a, other + b
        if one + other >= least:
            merged.append((one, other))
            one = other = 0.0
    if merged and (one or other):
        last = merged.pop()
        merged.append((last[0] + one, last[1] + other))
    return merged


def _chi_square_tail(statistic: float, freedom: int) -> float:
    """The regularised upper incomplete gamma function Q(freedom / 2, statistic / 2), by its finite series."""
    x = statistic / 2
    if freedom % 2 == 0:
        term = total = math.exp(-x)
        for k in range(1, freedom // 2):
            term *= x / k
            total += term
        return min(total, 1.0)
    total = math.erfc(math.sqrt(x))
    term = math.exp(-x) * math.sqrt(x / math.pi) * 2
    for k in range(freedom // 2):
        total += term
        term *= x / (k + 1.5)
    return min(total, 1.0)
