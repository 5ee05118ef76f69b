"""What is counted of every answer: faces by expression, and time by how the cache took part."""

from __future__ import annotations

from typing import Final

from ferry.v1 import gateway_pb2
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

    def count(self, response: gateway_pb2.RecognizeResponse, cache: str, seconds: float) -> None:
        """Counts one answer that took `seconds`, with `cache` being one of the constants above."""
        self._seconds[cache].observe(seconds)
        if response.degraded:
            self._degraded.inc()
        faces: dict[int, int] = {}
        for face in response.faces:
            # An expression that this version does not know counts as unspecified.
            known = face.expression if 0 <= face.expression < len(self._faces) else 0
            faces[known] = faces.get(known, 0) + 1
        for expression, number in faces.items():
            self._faces[expression].inc(number)
