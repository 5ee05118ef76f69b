"""Answers are plain data: they can be kept, sent and written."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

from ferry.client import convert
from ferry.client.results import ClusterStatus, Recognition
from ferry.v1 import gateway_pb2, types_pb2

MODEL = types_pb2.ModelVersion(name="arcface", version="1", digest="d" * 64)
HAPPY = types_pb2.ExpressionProbability(expression=types_pb2.EXPRESSION_HAPPY, probability=0.75)
PREDICTION = types_pb2.ModelPrediction(model=MODEL, probabilities=[HAPPY], weight=1)
FACE = types_pb2.Face(
    expression=types_pb2.EXPRESSION_HAPPY,
    confidence=0.75,
    probabilities=[HAPPY],
    predictions=[PREDICTION],
    box=types_pb2.BoundingBox(x_min=1, y_min=2, x_max=3, y_max=4),
)
ANSWERS = [
    convert.recognition(gateway_pb2.RecognizeResponse(faces=[FACE], models=[MODEL], request_id="caller-0001")),
    convert.status(gateway_pb2.GetStatusResponse(variants=[gateway_pb2.VariantStatus(name="stable", healthy=True)])),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_they_can_be_copied_and_pickled(answer: Recognition | ClusterStatus) -> None:
    assert copy.deepcopy(answer) == copy.copy(answer) == answer
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert dataclasses.replace(answer) == answer


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_they_become_dicts_and_json(answer: Recognition | ClusterStatus) -> None:
    assert answer.to_dict() == dataclasses.asdict(answer)
    assert json.loads(answer.to_json()) == json.loads(json.dumps(dataclasses.asdict(answer)))
    assert "\n" in answer.to_json(indent=2)


def test_a_dict_has_the_names_of_the_fields() -> None:
    answer = ANSWERS[0]
    assert isinstance(answer, Recognition)
    face = answer.to_dict()["faces"][0]
    assert face["expression"] == "happy"
    assert face["probabilities"] == {"happy": 0.75}
    assert face["box"] == {"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}
    assert face["models"][0]["model"]["name"] == "arcface"
    assert answer.faces[0].to_dict() == face
    face["probabilities"]["happy"] = 0
    assert answer.faces[0].probabilities == {"happy": 0.75}
