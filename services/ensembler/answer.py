"""From arrays to the faces of the contract.

Messages are filled in where they lie: to build each from keywords and copy it into its parent costs twice as much,
and a face that three models judge has 28 probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ferry.v1 import detector_pb2, ensembler_pb2, types_pb2
from services.ensembler.vote import Floats

_EXPRESSIONS = tuple(value for value in types_pb2.Expression.values() if value)
"""The contract numbers expressions from 1 in the order of the columns."""


def add_faces(
    response: ensembler_pb2.EnsemblerRecognizeResponse,
    *,
    detections: Sequence[detector_pb2.Detection],
    fused: Floats,
    opinions: Floats,
    share: Floats,
    versions: Sequence[types_pb2.ModelVersion | None],
    missing: Sequence[Sequence[str]],
    brightness: Sequence[float],
) -> None:
    """Adds one face for each detection, surest detection first; its predictions are in the order of `versions`.

    Args:
        response: where to.
        detections: N of them.
        fused: float32 [N, 7], rows sum to 1.
        opinions: float32 [models, N, 7]; rows of NaN where a model has no opinion.
        share: float32 [models, N], each model's part of the vote.
        versions: one for each model; None where it did not answer, or was not asked.
        missing: for each detection the names of the models that were asked about it and did not answer.
        brightness: of each detection's crop, [0, 1].
    """
    # Plain lists: reading an array element by element is slow.
    rows, given, shares = fused.tolist(), opinions.tolist(), share.tolist()
    spoke = np.asarray(np.isfinite(opinions).all(axis=2)).tolist()
    for i in sorted(range(len(detections)), key=lambda i: -detections[i].score):
        face = response.faces.add()
        face.box.CopyFrom(detections[i].box)
        face.detection_score = detections[i].score
        face.brightness = brightness[i]
        _judge(face, rows[i])
        for m, version in enumerate(versions):
            if version is not None and spoke[m][i]:
                prediction = face.predictions.add()
                prediction.model.CopyFrom(version)
                prediction.weight = shares[m][i]
                _judge(prediction, given[m][i])
        if missing[i]:
            face.degraded = True
            face.missing_models.extend(missing[i])


def _judge(message: types_pb2.Face | types_pb2.ModelPrediction, row: list[float]) -> None:
    """Sets probabilities, expression and confidence."""
    add = message.probabilities.add
    for expression, probability in zip(_EXPRESSIONS, row, strict=True):
        entry = add()
        entry.expression = expression
        entry.probability = probability
    confidence = max(row)
    message.confidence = confidence
    message.expression = _EXPRESSIONS[row.index(confidence)]
