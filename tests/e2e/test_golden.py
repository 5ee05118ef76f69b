"""The cluster says of a photo what the toolchain's own code says of it, to 1e-3; today and in every later version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferry.v1 import gateway_pb2, gateway_pb2_grpc, types_pb2
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from tests.e2e.conftest import SAMPLES
from tests.e2e.make_golden import GOLDEN
from tests.e2e.reference import Reference, ReferenceFace, recognize

pytestmark = pytest.mark.e2e
TOLERANCE = 1e-3
PIXELS = 0.1


def golden(name: str) -> Reference:
    record: dict[str, Any] = json.loads(GOLDEN.read_text())[name]
    return Reference(record["digests"], [ReferenceFace(**face) for face in record["faces"]])


def row(probabilities: Any) -> list[float]:
    assert [p.expression for p in probabilities] == list(types_pb2.Expression.values())[1:]
    return [p.probability for p in probabilities]


def compare(answer: gateway_pb2.RecognizeResponse, expected: Reference) -> None:
    assert {model.name: model.digest for model in answer.models} == expected.digests
    assert len(answer.faces) == len(expected.faces)
    for face, reference in zip(answer.faces, expected.faces, strict=True):
        box = (face.box.x_min, face.box.y_min, face.box.x_max, face.box.y_max)
        np.testing.assert_allclose(box, reference.box, atol=PIXELS)
        assert face.detection_score == pytest.approx(reference.score, abs=TOLERANCE)
        said = {p.model.name: row(p.probabilities) for p in face.predictions}
        assert said.keys() == reference.by_model.keys()
        for name, shares in said.items():
            np.testing.assert_allclose(shares, reference.by_model[name], atol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(row(face.probabilities), reference.fused, atol=TOLERANCE)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_cluster_answers_as_the_toolchain_evaluates(
    name: str, gateway: gateway_pb2_grpc.ExpressionRecognitionStub, models_dir: Path
) -> None:
    image = SAMPLES[name].read_bytes()
    answer = gateway.Recognize(gateway_pb2.RecognizeRequest(image=image, bypass_cache=True), timeout=60)
    compare(answer, recognize(image, models_dir, read_recipe(DEFAULT_RECIPE)))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_cluster_answers_as_when_the_models_were_published(
    name: str, gateway: gateway_pb2_grpc.ExpressionRecognitionStub
) -> None:
    """Fails after a model was published or preprocessing changed: look at the difference, then run make_golden."""
    answer = gateway.Recognize(
        gateway_pb2.RecognizeRequest(image=SAMPLES[name].read_bytes(), bypass_cache=True), timeout=60
    )
    compare(answer, golden(name))
