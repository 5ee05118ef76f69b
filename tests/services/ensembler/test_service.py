"""The ensembler over real sockets, its models faked behind real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from ferry.v1 import ensembler_pb2, ensembler_pb2_grpc, types_pb2
from services.ensembler.recipe import Recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from serving.errors import InvalidArgumentError, OverloadedError, ServiceError
from tests.services.ensembler.fakes import HAPPY, SAD, Models, running_models
from tests.services.running import refusal, serve

IMAGE = ensembler_pb2.EnsemblerRecognizeRequest(image=b"any")


@dataclass
class Ensembler:
    """A running ensembler and the models behind it."""

    stub: Any
    models: Models

    async def recognize(self, request: Any = IMAGE, timeout: float = 30) -> ensembler_pb2.EnsemblerRecognizeResponse:
        response: ensembler_pb2.EnsemblerRecognizeResponse = await self.stub.Recognize(request, timeout=timeout)
        return response


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    async with running_models() as models:
        yield models


@pytest.fixture
async def ensembler(models: Models) -> AsyncIterator[Ensembler]:
    settings = EnsemblerSettings(port=0, probe_interval=3600, stale_after=3600)
    async with serve(EnsemblerService(settings, models.recipe), settings) as channel:
        for fake in (models.detector, models.first, models.second):
            fake.requests.clear()
        models.first.asked.clear()
        yield Ensembler(ensembler_pb2_grpc.EnsemblerStub(channel), models)


def names(predictions: Any) -> list[str]:
    return [prediction.model.name for prediction in predictions]


async def test_answer_holds_vote_opinions_versions_and_timings(ensembler: Ensembler) -> None:
    ensembler.models.second.row = SAD
    answer = await ensembler.recognize()
    (face,) = answer.faces
    assert face.expression == types_pb2.EXPRESSION_HAPPY
    assert face.confidence == pytest.approx(0.6 * 0.88 + 0.4 * 0.02, abs=1e-5)
    assert [p.expression for p in face.probabilities] == list(range(1, 8))
    assert sum(p.probability for p in face.probabilities) == pytest.approx(1, abs=1e-5)
    assert names(face.predictions) == ["first", "second", "detector"]
    assert [round(p.weight, 3) for p in face.predictions] == [0.4, 0.4, 0.2]
    assert sorted(model.name for model in answer.models) == ["detector", "first", "second"]
    assert all(model.digest for model in answer.models)
    assert not answer.degraded
    assert not face.degraded
    assert answer.image_size.width == 640
    assert (answer.timings.decode_ms, answer.timings.queue_ms, answer.timings.compute_ms) == (1, 4, 5)
    assert answer.timings.detector_ms > 0
    assert answer.timings.classifiers_ms > 0


async def test_faces_keep_the_detectors_order_and_share_one_batch(ensembler: Ensembler) -> None:
    ensembler.models.detector.faces = 5
    answer = await ensembler.recognize()
    assert [face.box.x_min for face in answer.faces] == [0, 1, 2, 3, 4]
    assert [list(r.crops.shape) for r in ensembler.models.first.requests] == [[5, 64, 64, 3]]


async def test_image_without_faces_is_an_answer_and_asks_no_classifier(ensembler: Ensembler) -> None:
    ensembler.models.detector.faces = 0
    answer = await ensembler.recognize()
    assert not answer.faces
    assert answer.fingerprint
    assert not ensembler.models.first.requests


async def test_options_reach_the_models(ensembler: Ensembler) -> None:
    options = ensembler_pb2.RecognizeOptions(
        max_faces=3, min_detection_score=0.5, min_face_size=24, test_time_augmentation=True
    )
    await ensembler.recognize(ensembler_pb2.EnsemblerRecognizeRequest(image=b"any", options=options))
    (seen,) = ensembler.models.detector.requests
    assert (seen.image, seen.max_faces, seen.min_score, seen.min_face_size) == (b"any", 3, 0.5, 24)
    assert (seen.crop_size, round(seen.crop_margin, 3)) == (64, 0.06)
    assert ensembler.models.first.requests[0].test_time_augmentation


async def test_caller_may_ask_for_a_hard_vote(ensembler: Ensembler) -> None:
    models = ensembler.models
    models.detector.probabilities = (0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1)
    models.first.row = (0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1)
    models.second.row = HAPPY
    soft = await ensembler.recognize()
    options = ensembler_pb2.RecognizeOptions(vote=types_pb2.VOTE_HARD)
    hard = await ensembler.recognize(ensembler_pb2.EnsemblerRecognizeRequest(image=b"any", options=options))
    assert soft.faces[0].expression == types_pb2.EXPRESSION_HAPPY
    assert hard.faces[0].expression == types_pb2.EXPRESSION_ANGRY


async def test_detector_without_an_opinion_has_no_weight(ensembler: Ensembler) -> None:
    ensembler.models.detector.probabilities = ()
    answer = await ensembler.recognize()
    assert names(answer.faces[0].predictions) == ["first", "second"]
    assert [p.weight for p in answer.faces[0].predictions] == pytest.approx([0.5, 0.5])
    assert not answer.degraded


@pytest.mark.parametrize(
    ("error", "row"),
    [
        pytest.param(ServiceError("broken"), HAPPY, id="fails"),
        pytest.param(OverloadedError("full", 1), HAPPY, id="overloaded"),
        pytest.param(None, (0.5, 0.5), id="too few columns"),
        pytest.param(None, (float("nan"),) * 7, id="NaN"),
        pytest.param(None, (3.0, -2.0, 0, 0, 0, 0, 0), id="no probabilities"),
        pytest.param(None, (0.9,) * 7, id="sums to six"),
    ],
)
async def test_model_that_fails_is_left_out(
    ensembler: Ensembler, error: ServiceError | None, row: tuple[float, ...]
) -> None:
    ensembler.models.second.error, ensembler.models.second.row = error, row
    answer = await ensembler.recognize()
    (face,) = answer.faces
    assert answer.degraded
    assert face.degraded
    assert list(face.missing_models) == ["second"]
    assert names(face.predictions) == ["first", "detector"]
    assert [p.weight for p in face.predictions] == pytest.approx([2 / 3, 1 / 3])
    assert face.confidence == pytest.approx(0.88, abs=1e-5)


async def test_model_that_is_late_is_left_out_before_the_deadline(ensembler: Ensembler) -> None:
    ensembler.models.second.gate.clear()
    answer = await ensembler.recognize(timeout=2)
    assert list(answer.faces[0].missing_models) == ["second"]
    await asyncio.wait_for(ensembler.models.second.cancelled.wait(), 10)


async def test_detector_alone_is_still_an_answer(ensembler: Ensembler) -> None:
    ensembler.models.first.error = ensembler.models.second.error = ServiceError("broken")
    answer = await ensembler.recognize()
    assert names(answer.faces[0].predictions) == ["detector"]
    assert list(answer.faces[0].missing_models) == ["first", "second"]


async def test_no_opinion_at_all_is_an_error(ensembler: Ensembler) -> None:
    ensembler.models.detector.probabilities = ()
    ensembler.models.first.error = ensembler.models.second.error = ServiceError("broken")
    assert (await refusal(ensembler.stub.Recognize, IMAGE)).code is grpc.StatusCode.UNAVAILABLE


async def test_detectors_refusal_passes_with_its_field(ensembler: Ensembler) -> None:
    ensembler.models.detector.error = InvalidArgumentError("image", "is broken")
    refused = await refusal(ensembler.stub.Recognize, IMAGE)
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, "image")


async def test_caller_who_leaves_stops_the_models(ensembler: Ensembler) -> None:
    models = ensembler.models
    models.first.gate.clear()
    call = ensembler.stub.Recognize(IMAGE, timeout=30)
    waiting = asyncio.ensure_future(call)
    await asyncio.wait_for(models.first.asked.wait(), 10)
    waiting.cancel()
    await asyncio.wait_for(models.first.cancelled.wait(), 10)


async def test_pipeline_lists_versions_and_weights(ensembler: Ensembler) -> None:
    pipeline = await ensembler.stub.GetPipeline(ensembler_pb2.GetPipelineRequest())
    assert [(e.model.name, round(e.weight, 3), e.available) for e in pipeline.entries] == [
        ("detector", 0.2, True),
        ("first", 0.4, True),
        ("second", 0.4, True),
    ]
    assert pipeline.fingerprint == (await ensembler.recognize()).fingerprint


async def test_fingerprint_follows_the_versions_that_answer(ensembler: Ensembler) -> None:
    before = (await ensembler.recognize()).fingerprint
    ensembler.models.first.digest = "e" * 64
    after = (await ensembler.recognize()).fingerprint
    assert len(before) == len(after) == 64
    assert before != after


async def test_degraded_answer_keeps_the_name_of_the_whole_pipeline(ensembler: Ensembler) -> None:
    whole = (await ensembler.recognize()).fingerprint
    ensembler.models.second.error = ServiceError("broken")
    assert (await ensembler.recognize()).fingerprint == whole


async def test_starts_without_its_models_and_says_which_are_missing(models: Models) -> None:
    recipe = models.recipe.model_dump()
    recipe["classifiers"][1]["address"] = "127.0.0.1:1"
    settings = EnsemblerSettings(port=0, probe_interval=3600, stale_after=3600)
    async with serve(EnsemblerService(settings, Recipe.model_validate(recipe)), settings) as channel:
        pipeline = await ensembler_pb2_grpc.EnsemblerStub(channel).GetPipeline(ensembler_pb2.GetPipelineRequest())
    assert [entry.available for entry in pipeline.entries] == [True, True, False]
    assert pipeline.fingerprint == ""


async def test_probe_notices_a_new_version_without_traffic(models: Models) -> None:
    settings = EnsemblerSettings(port=0, probe_interval=0.02, stale_after=0.01)
    async with serve(EnsemblerService(settings, models.recipe), settings) as channel:
        stub = ensembler_pb2_grpc.EnsemblerStub(channel)
        before = (await stub.GetPipeline(ensembler_pb2.GetPipelineRequest())).fingerprint
        models.first.digest = "e" * 64
        async with asyncio.timeout(20):
            while (await stub.GetPipeline(ensembler_pb2.GetPipelineRequest())).fingerprint == before:
                await asyncio.sleep(0.01)
