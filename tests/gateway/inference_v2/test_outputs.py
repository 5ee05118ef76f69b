"""Answers of the pipeline as tensors."""

from __future__ import annotations

import json

from ferry.client.convert import recognition
from ferry.v1 import gateway_pb2, types_pb2
from gateway.inference_v2.outputs import ANSWER, outputs
from tests.gateway.fakes import turns_of_others


def answer() -> gateway_pb2.RecognizeResponse:
    probabilities = [types_pb2.ExpressionProbability(expression=types_pb2.EXPRESSION_HAPPY, probability=0.1)]
    opinion = types_pb2.ModelPrediction(model=types_pb2.ModelVersion(name="é"), probabilities=probabilities)
    face = types_pb2.Face(confidence=1e-7, probabilities=probabilities, predictions=[opinion], missing_models=["b"])
    return gateway_pb2.RecognizeResponse(faces=[face], request_id="seven")


async def test_documents_say_what_the_client_says() -> None:
    first, *_ = await outputs([answer()], frozenset({ANSWER}))
    assert [json.loads(item) for item in first.items] == [json.loads(recognition(answer()).to_json())]


async def test_others_have_their_turn_between_images() -> None:
    assert await turns_of_others(outputs([answer()] * 16, frozenset({ANSWER}))) >= 16
