"""What is counted and kept of a shadow's answer beside the original."""

from __future__ import annotations

import time

from gateway.experiments.comparison import compare
from gateway.experiments.record import FINGERPRINT_DIGITS, Pair, face
from gateway.experiments.recorder import Recorder
from gateway.routing.copied import Answered, Original
from serving.telemetry import metrics


class ShadowPairs:
    """Counts every pair, and keeps a sample where records are kept."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    def compared(self, original: Original, shadow: Answered) -> None:
        """Returns at once."""
        ours, theirs = original.answered.answer, shadow.answer
        found = compare(ours.faces, theirs.faces)
        faces, difference = metrics.SHADOW_FACES, metrics.SHADOW_CONFIDENCE.labels(shadow.variant)
        for i, j in found.matched:
            one, other = ours.faces[i], theirs.faces[j]
            agree = one.expression == other.expression
            faces.labels(shadow.variant, "agree" if agree else "disagree").inc()
            difference.observe(abs(one.confidence - other.confidence))
        faces.labels(shadow.variant, "only_original").inc(found.only_original)
        faces.labels(shadow.variant, "only_shadow").inc(found.only_shadow)
        metrics.SHADOW_ORIGINAL_SECONDS.labels(shadow.variant).observe(original.answered.seconds)
        if self._recorder is None or not original.request_id:
            return
        pair = Pair(
            time=time.time(),
            request_id=original.request_id,
            variant=original.answered.variant,
            fingerprint=ours.fingerprint[:FINGERPRINT_DIGITS],
            milliseconds=round(original.answered.seconds * 1000, 2),
            shadow=shadow.variant,
            shadow_fingerprint=theirs.fingerprint[:FINGERPRINT_DIGITS],
            shadow_milliseconds=round(shadow.seconds * 1000, 2),
            caller="",
            matched=tuple((i, face(ours.faces[i]), face(theirs.faces[j])) for i, j in found.matched),
            only_original=found.only_original,
            only_shadow=found.only_shadow,
        )
        self._recorder.compared(pair, original.key)
