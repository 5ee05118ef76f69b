"""What answers look like as a whole, by variant: five distributions, which tell of no person and keep no image."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
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
