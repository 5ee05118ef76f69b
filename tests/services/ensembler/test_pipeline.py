"""One image through the pipeline: what each model is asked, and what becomes of what it says."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ferry.v1 import types_pb2
from serving.errors import NotFoundError, OverloadedError
from serving.tensors import to_tensor
from tests.services.ensembler.conftest import Caller, Start
from tests.services.ensembler.fakes import HAPPY, SAD, Models, cut

NEUTRAL = (0.02, 0.02, 0.02, 0.02, 0.88, 0.02, 0.02)


async def test_every_face_gets_its_own_row_and_the_surest_comes_first(models: Models, caller: Caller) -> None:
    models.detector.faces, models.detector.scores, models.detector.probabilities = 3, [0.5, 0.9, 0.7], ()
    models.first.rows = models.second.rows = [HAPPY, SAD, NEUTRAL]
    answer = await caller.recognize()
    assert [face.detection_score for face in answer.faces] == pytest.approx([0.9, 0.7, 0.5])
    assert [face.box.x_min for face in answer.faces] == [1, 2, 0]
    assert [face.expression for face in answer.faces] == [
        types_pb2.EXPRESSION_SAD,
        types_pb2.EXPRESSION_NEUTRAL,
        types_pb2.EXPRESSION_HAPPY,
    ]


@pytest.mark.parametrize("useless", [(), (0.9,) * 7, (float("nan"),) * 7, (0.5, 0.5)], ids=str)
async def test_the_detector_votes_only_on_faces_it_has_an_opinion_on(
    models: Models, caller: Caller, useless: tuple[float, ...]
) -> None:
    models.detector.faces, models.detector.opinions = 2, [NEUTRAL, useless]
    models.second.row = SAD
    with_opinion, without = (await caller.recognize()).faces
    expected = 0.4 * np.array(HAPPY) + 0.4 * np.array(SAD) + 0.2 * np.array(NEUTRAL)
    assert [p.probability for p in with_opinion.probabilities] == pytest.approx(expected, abs=1e-6)
    expected = 0.5 * np.array(HAPPY) + 0.5 * np.array(SAD)
    assert [p.probability for p in without.probabilities] == pytest.approx(expected, abs=1e-6)
    assert [p.weight for p in without.predictions] == pytest.approx([0.5, 0.5])
    assert not without.degraded


async def test_crops_reach_each_classifier_as_they_were_cut(models: Models, caller: Caller) -> None:
    models.detector.faces = 3
    await caller.recognize()
    for classifier in (models.first, models.second):
        (request,) = classifier.requests
        assert request.crops == to_tensor(cut(3, 64))
        assert (request.model_name, request.model_version) == (classifier.name, "")
        assert not request.include_embeddings


async def test_the_recipe_can_pin_a_version_and_turn_augmentation_on(models: Models, start: Start) -> None:
    recipe = models.recipe.model_dump() | {"test_time_augmentation": True}
    recipe["detector"]["version"], recipe["classifiers"][1]["version"] = "7", "3"
    await (await start(recipe)).recognize()
    assert models.detector.requests[0].model_version == "7"
    assert [c.requests[0].model_version for c in (models.first, models.second)] == ["", "3"]
    assert all(c.requests[0].test_time_augmentation for c in (models.first, models.second))


@pytest.mark.parametrize(
    ("rule", "asked", "share"),
    [
        ("hard", types_pb2.VOTE_UNSPECIFIED, 0.6),
        ("hard", types_pb2.VOTE_SOFT, 0.6 * 0.88 + 0.4 * 0.02),
        ("soft", types_pb2.VOTE_HARD, 0.6),
    ],
)
async def test_the_request_may_overrule_the_recipes_vote(
    models: Models, start: Start, rule: str, asked: types_pb2.Vote.ValueType, share: float
) -> None:
    models.second.row = SAD
    caller = await start(models.recipe.model_dump() | {"vote": rule})
    assert (await caller.recognize(vote=asked)).faces[0].confidence == pytest.approx(share, abs=1e-4)
    assert (await caller.pipeline()).vote == (types_pb2.VOTE_HARD if rule == "hard" else types_pb2.VOTE_SOFT)


async def test_an_unknown_vote_is_refused_before_any_work(models: Models, caller: Caller) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"options\.vote") as caught:
        await caller.recognize(vote=9)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not models.detector.requests


async def test_timings_are_those_of_the_slowest(models: Models, caller: Caller) -> None:
    models.first.queue_ms, models.first.compute_ms = 1, 30
    models.second.queue_ms, models.second.compute_ms = 7, 5
    timings = (await caller.recognize()).timings
    assert (timings.decode_ms, timings.queue_ms, timings.compute_ms, timings.total_ms) == (1, 7, 30, 0)


async def test_the_request_id_reaches_every_model(models: Models, caller: Caller) -> None:
    await caller.call(metadata=(("x-request-id", "request-42"),))
    assert [fake.metadata[0]["x-request-id"] for fake in models.all] == ["request-42"] * 3


async def test_overload_of_the_detector_is_passed_on_with_the_time_to_wait(models: Models, caller: Caller) -> None:
    models.detector.error = OverloadedError("the queue is full", 1.5)
    with pytest.raises(grpc.aio.AioRpcError, match="the queue is full") as caught:
        await caller.recognize()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status, info = rpc_status.from_call(caught.value), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay == Duration(seconds=1, nanos=500_000_000)
    assert not models.first.requests


async def test_a_version_that_the_detector_does_not_hold_is_not_found(models: Models, caller: Caller) -> None:
    models.detector.error = NotFoundError("detector has no version 7")
    with pytest.raises(grpc.aio.AioRpcError, match="no version 7") as caught:
        await caller.recognize()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_crops_that_do_not_fit_the_faces_are_the_detectors_fault(models: Models, caller: Caller) -> None:
    models.detector.crops = to_tensor(cut(2, 64))
    with pytest.raises(grpc.aio.AioRpcError, match=r"crops of shape \[2, 64, 64, 3\] for 1 faces") as caught:
        await caller.recognize()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not models.first.requests
    assert (await caller.available())[0] is False


async def test_a_slow_answer_of_an_old_version_does_not_undo_a_rollout(models: Models, caller: Caller) -> None:
    detector = models.detector
    detector.gate.clear()
    slow = asyncio.ensure_future(caller.call())
    await asyncio.wait_for(detector.asked.wait(), 20)
    waiting, detector.gate = detector.gate, asyncio.Event()
    detector.gate.set()
    detector.digest, detector.version = "e" * 64, "2"
    new = await caller.recognize()
    waiting.set()
    old = await slow
    assert [answer.models[0].version for answer in (old, new)] == ["1", "2"]
    assert old.fingerprint != new.fingerprint
    pipeline = await caller.pipeline()
    assert pipeline.entries[0].model.version == "2"
    assert pipeline.fingerprint == new.fingerprint


async def test_an_answer_names_the_version_that_made_it_when_a_newer_one_is_known(
    models: Models, caller: Caller
) -> None:
    before = (await caller.recognize()).fingerprint
    models.first.gate.clear()
    models.first.asked.clear()
    slow = asyncio.ensure_future(caller.call())
    await asyncio.wait_for(models.first.asked.wait(), 20)
    waiting, models.first.gate = models.first.gate, asyncio.Event()
    models.first.gate.set()
    models.first.digest = "e" * 64
    after = (await caller.recognize()).fingerprint
    waiting.set()
    assert (await slow).fingerprint == before != after


async def test_a_version_that_a_service_cannot_load_is_told_until_it_can(models: Models, caller: Caller) -> None:
    async def failures() -> list[str]:
        await caller.recognize()
        return [entry.load_failure.version for entry in (await caller.pipeline()).entries]

    assert await failures() == ["", "", ""]
    models.detector.load_failure = types_pb2.LoadFailure(version="2", attempts=1)
    assert await failures() == ["2", "", ""]
    models.detector.load_failure = None
    assert await failures() == ["", "", ""]
