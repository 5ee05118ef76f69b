"""An ensembler that answers as the real one does, without models: two faces, three opinions each."""

from __future__ import annotations

from typing import Any

from ferry.v1 import ensembler_pb2, types_pb2
from serving.expressions import EXPRESSIONS
from tests.gateway.fakes import FakeEnsembler

NAMES = ("efficientnet", "arcface")
MODELS = tuple(types_pb2.ModelVersion(name=name, version="2", digest=name[0] * 64) for name in NAMES)


def probabilities(top: int, share: float) -> list[types_pb2.ExpressionProbability]:
    rest = (1 - share) / (len(EXPRESSIONS) - 1)
    return [
        types_pb2.ExpressionProbability(expression=number, probability=share if number == top else rest)
        for number in range(1, len(EXPRESSIONS) + 1)
    ]


def face(box: tuple[float, ...], top: int, share: float) -> types_pb2.Face:
    left, upper, right, lower = box
    return types_pb2.Face(
        box=types_pb2.BoundingBox(x_min=left, y_min=upper, x_max=right, y_max=lower),
        detection_score=0.9,
        expression=top,
        confidence=share,
        probabilities=probabilities(top, share),
        predictions=[
            types_pb2.ModelPrediction(
                model=model, expression=top, confidence=said, probabilities=probabilities(top, said), weight=0.5
            )
            for model, said in zip(MODELS, (share, share - 0.1), strict=True)
        ],
    )


class Portraits(FakeEnsembler):
    """Attributes: missing: names of models that do not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: tuple[str, ...] = ()

    async def Recognize(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = await super().Recognize(request, context)
        faces = [
            face((60, 40, 180, 190), types_pb2.EXPRESSION_HAPPY, 0.86),
            face((230, 60, 340, 200), types_pb2.EXPRESSION_SAD, 0.61),
        ]
        for one in faces:
            one.degraded = bool(self.missing)
            one.missing_models.extend(self.missing)
        return ensembler_pb2.EnsemblerRecognizeResponse(
            faces=faces[: self.faces],
            image_size=types_pb2.ImageSize(width=400, height=300),
            models=MODELS,
            timings=types_pb2.Timings(detector_ms=31, classifiers_ms=24, decode_ms=4, compute_ms=20),
            degraded=bool(self.missing),
            fingerprint=answer.fingerprint,
        )
