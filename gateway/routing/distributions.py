"""What answers look like as a whole, by variant: five distributions, which tell of no person and keep no image."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from ferry.v1 import ensembler_pb2
from serving.expressions import EXPRESSIONS
from serving.telemetry import metrics

BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {
    "confidence": metrics.CONFIDENCE_BOUNDS,
    "face_size": metrics.FACE_SIZE_BOUNDS,
    "brightness": metrics.BRIGHTNESS_BOUNDS,
    "faces": metrics.FACES_BOUNDS,
}
"""Upper bounds of the cells of what is a number, the last of them infinite."""
CELLS: Final[Mapping[str, tuple[str, ...]]] = {
    "expression": tuple(expression.value for expression in EXPRESSIONS),
    **{name: tuple("more" if math.isinf(b) else f"{b:g}" for b in bounds) for name, bounds in BOUNDS.items()},
}
"""Names of the cells of each distribution."""

Counts = dict[str, list[int]]
"""By distribution, how much fell into each of its cells."""


def nothing() -> Counts:
    """No answer yet."""
    return {name: [0] * len(cells) for name, cells in CELLS.items()}


class Distributions:
    """Counts computed answers of one variant: one that comes from the cache again says nothing new.

    Attributes:
        counts: since the start.
    """

    def __init__(self, variant: str) -> None:
        self.counts = nothing()
        self._expressions = [metrics.COMPUTED_FACES.labels(variant, name) for name in CELLS["expression"]]
        self._shown = {
            "confidence": metrics.FACE_CONFIDENCE.labels(variant),
            "face_size": metrics.FACE_SIZE.labels(variant),
            "brightness": metrics.FACE_BRIGHTNESS.labels(variant),
            "faces": metrics.FACES_PER_IMAGE.labels(variant),
        }

    def count(self, answer: ensembler_pb2.EnsemblerRecognizeResponse) -> None:
        """Counts one answer."""
        self._add("faces", len(answer.faces))
        for face in answer.faces:
            if 1 <= face.expression <= len(EXPRESSIONS):
                self.counts["expression"][face.expression - 1] += 1
                self._expressions[face.expression - 1].inc()
            box = face.box
            self._add("confidence", face.confidence)
            self._add("face_size", min(box.x_max - box.x_min, box.y_max - box.y_min))
            self._add("brightness", face.brightness)

    def _add(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            return
        self.counts[name][bisect_left(BOUNDS[name], value)] += 1
        self._shown[name].observe(value)


def difference(later: Counts, earlier: Counts) -> Counts:
    """What was counted in between."""
    return {
        name: [max(one - other, 0) for one, other in zip(later[name], earlier[name], strict=True)] for name in CELLS
    }


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
