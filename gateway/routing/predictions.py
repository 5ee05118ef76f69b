"""What is counted of every answer: faces by expression, and time by how the cache took part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.routing.distributions import Distributions
from serving.expressions import EXPRESSIONS
from serving.telemetry import metrics

HIT: Final = "hit"
MISS: Final = "miss"
COALESCED: Final = "coalesced"
BYPASS: Final = "bypass"
"""Values of the label `cache`: from the cache, computed, computed for another caller at the same time, not asked."""


class PredictionCounter:
    """The metrics of one variant, looked up once.

    Attributes:
        distributions: what its computed answers look like.
    """

    def __init__(self, variant: str) -> None:
        names = ("unspecified", *EXPRESSIONS)
        self._faces = tuple(metrics.PREDICTIONS.labels(variant, name) for name in names)
        self.distributions = Distributions(variant)
        self._degraded = metrics.VARIANT_DEGRADED.labels(variant)
        self._seconds = {
            cache: metrics.PREDICTION_SECONDS.labels(variant, cache) for cache in (HIT, MISS, COALESCED, BYPASS)
        }

    def count(self, faces: Iterable[tuple[int, int]], cache: str, seconds: float, *, degraded: bool) -> None:
        """Counts one answer.

        Args:
            faces: numbers of the contract's expressions, and how many faces show each.
            cache: one of the constants above.
            seconds: that it took.
            degraded: whether a model did not answer for some face.
        """
        self._seconds[cache].observe(seconds)
        if degraded:
            self._degraded.inc()
        for expression, number in faces:
            # An expression that this version does not know counts as unspecified.
            self._faces[expression if 0 <= expression < len(self._faces) else 0].inc(number)
