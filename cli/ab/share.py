"""Whether callers fell to the variants in the shares that were set; where not, nothing is to be believed."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cli.ab.records import Records
from cli.ab.sequence import ratio_evidence

RATIO_ALPHA = 0.01
"""Probability of a block where nothing is wrong, of the first routing table; of however many, twice that."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of the routing table that speaks most against its shares.

    Attributes:
        callers: that fell to each variant, by name.
        expected: that would have, by the shares.
        refuted: whether that is more than chance.
        unknown: callers of all routing tables whose shares are not known.
    """

    callers: dict[str, int]
    expected: dict[str, float]
    refuted: bool
    unknown: int

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {n:,} (expected {self.expected[name]:,.0f})" for name, n in self.callers.items())
        return f"callers do not fall to the variants in the shares that were set: {parts}"


def ratio(records: Records) -> Ratio:
    """Counts callers by the variant that they fell to, for each routing table that was in use.

    Each is judged by itself: callers come back under the next one, and fall as they did before. The k-th in time has
    2 / (k (k + 1)) of `RATIO_ALPHA`, so that they have twice as much together, however many there are.
    """
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for one in sorted(records.exposures.values(), key=lambda exposure: exposure.time):
        seen[one.table][one.caller] = one.assigned
    unknown = sum(len(fallen) for name, fallen in seen.items() if name not in records.tables)
    worst, beyond, number = Ratio({}, {}, False, unknown), -math.inf, 0
    for name, fallen in seen.items():
        shares = {variant: share for variant, share in sorted(records.tables.get(name, {}).items()) if share > 0}
        if len(shares) < 2:
            continue
        number += 1
        counts = [sum(of == variant for of in fallen.values()) for variant in shares]
        whole = np.array(list(shares.values())) / sum(shares.values())
        evidence = ratio_evidence(np.array(counts), whole) - math.log(number * (number + 1) / (2 * RATIO_ALPHA))
        if evidence > beyond:
            expected = dict(zip(shares, (whole * sum(counts)).tolist(), strict=True))
            worst, beyond = Ratio(dict(zip(shares, counts, strict=True)), expected, evidence >= 0, unknown), evidence
    return worst
