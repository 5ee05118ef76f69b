"""Whether callers fell to the variants in the shares that were set; where not, nothing is to be believed."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cli.ab.records import Records
from cli.ab.sequence import ratio_evidence

RATIO_ALPHA = 0.01
"""Probability of a block where nothing is wrong: it is looked at often, and a block costs an experiment."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Attributes:
    callers: that fell to each variant, by name.
    expected: that would have, by the shares.
    evidence: of all tables together; at `limit` the shares are refuted.
    """

    callers: dict[str, int]
    expected: dict[str, float]
    evidence: float

    @property
    def limit(self) -> float:
        return math.log(1 / RATIO_ALPHA)

    @property
    def refuted(self) -> bool:
        return self.evidence >= self.limit

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {n:,} (expected {self.expected[name]:,.0f})" for name, n in self.callers.items())
        return f"callers do not fall to the variants in the shares that were set: {parts}"


def ratio(records: Records) -> Ratio:
    """Counts callers by the variant that they fell to, for each routing table that was in use."""
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for one in records.exposures.values():
        seen[one.table][one.caller] = one.assigned
    callers: dict[str, int] = defaultdict(int)
    expected: dict[str, float] = defaultdict(float)
    evidence = 0.0
    for name, fallen in seen.items():
        shares = {variant: share for variant, share in records.tables.get(name, {}).items() if share > 0}
        if len(shares) < 2:
            continue
        variants = sorted(shares)
        counts = np.array([sum(of == variant for of in fallen.values()) for variant in variants])
        whole = np.array([shares[variant] for variant in variants])
        evidence += ratio_evidence(counts, whole / whole.sum())
        for variant, count, share in zip(variants, counts, whole / whole.sum(), strict=True):
            callers[variant] += int(count)
            expected[variant] += float(share) * int(counts.sum())
    return Ratio(dict(callers), dict(expected), evidence)
