"""Answers when a model is missing, late or talking nonsense; deadlines and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client import REGISTRY

from ferry.v1 import types_pb2
from services.ensembler.models import ClassifierModel
from serving.errors import LostError, OverloadedError, ServiceError
from serving.tensors import to_tensor
from tests.circles import no_circles
from tests.processes import free_port
from tests.services.ensembler.conftest import Caller, Start
from tests.services.ensembler.fakes import HAPPY, FakeClassifier, Models

Trouble = Callable[[FakeClassifier], None]


def fails(error: Exception) -> Trouble:
    return lambda classifier: setattr(classifier, "error", error)


def answers(rows: Any, dtype: type = np.float32) -> Trouble:
    return lambda classifier: setattr(classifier, "answer", to_tensor(np.array(rows, dtype)))


def sends(tensor: types_pb2.Tensor) -> Trouble:
    return lambda classifier: setattr(classifier, "answer", tensor)


NAN, INF = float("nan"), float("inf")
TROUBLES = {
    "crashes": fails(RuntimeError("a bug")),
    "is overloaded": fails(OverloadedError("the queue is full", 1)),
    "says one NaN": answers([[NAN, 0, 0, 1, 0, 0, 0]]),
    "says infinity": answers([[INF, -INF, 0, 1, 0, 0, 0]]),
    "sums to 1 with a negative": answers([[2, -1, 0, 0, 0, 0, 0]]),
    "sums to 0": answers([[0] * 7]),
    "judges another number of faces": answers([HAPPY, HAPPY]),
    "judges nothing": answers(np.zeros((0, 7))),
    "drops an axis": answers(HAPPY),
    "answers in bytes": answers([[0, 0, 0, 1, 0, 0, 0]], np.uint8),
    "is cut short": sends(types_pb2.Tensor(data_type=types_pb2.DATA_TYPE_FLOAT32, shape=(1, 7), data=b"0" * 8)),
    "says nothing": sends(types_pb2.Tensor()),
}


def degraded_answers(model: str) -> float:
    return REGISTRY.get_sample_value("ferry_degraded_total", {"model": model}) or 0.0


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_a_classifier_in_trouble_is_left_out_named_and_counted(
    models: Models, caller: Caller, trouble: Trouble
) -> None:
    before = degraded_answers("second")
    trouble(models.second)
    answer = await caller.recognize()
    assert answer.degraded
    assert list(answer.faces[0].missing_models) == ["second"]
    assert [model.name for model in answer.models] == ["detector", "first"]
    assert sum(p.probability for p in answer.faces[0].probabilities) == pytest.approx(1, abs=1e-5)
    assert degraded_answers("second") == before + 1
    models.second.error = models.second.answer = None
    assert not (await caller.recognize()).degraded


async def test_a_classifier_beyond_its_own_timeout_is_left_out(models: Models, start: Start) -> None:
    recipe = models.recipe.model_dump()
    recipe["classifiers"][1]["timeout"] = 0.5
    caller = await start(recipe)
    models.second.gate.clear()
    answer = await caller.recognize()
    assert list(answer.faces[0].missing_models) == ["second"]
    await asyncio.wait_for(models.second.cancelled.wait(), 20)


async def test_classifiers_get_the_callers_time_less_a_reserve(models: Models, start: Start) -> None:
    recipe = models.recipe.model_dump()
    recipe["classifiers"][0]["timeout"], recipe["classifiers"][1]["timeout"] = 5, 300
    await (await start(recipe)).call(timeout=30)
    # gRPC rounds a timeout up a little on its way.
    assert models.first.remaining[0] < 6
    assert 6 < models.second.remaining[0] < 29.9


async def test_a_classifier_whose_server_is_gone_is_left_out(models: Models, start: Start) -> None:
    recipe = models.recipe.model_dump()
    recipe["classifiers"] += ({"name": "gone", "address": f"127.0.0.1:{free_port()}", "weight": 10},)
    caller = await start(recipe)
    answer = await caller.recognize()
    assert list(answer.faces[0].missing_models) == ["gone"]
    assert not (await caller.pipeline()).required_model_unavailable, "there are answers without it"
    assert [p.weight for p in answer.faces[0].predictions] == pytest.approx([0.4, 0.4, 0.2])
    assert answer.fingerprint == ""


async def test_who_has_little_time_does_not_spend_it_on_a_classifier_that_is_away(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    real = ClassifierModel.classify

    def classify(model: ClassifierModel, crops: Any, augment: bool, timeout: float, patience: float, *rest: Any) -> Any:
        waits.append(patience)
        return real(model, crops, augment, timeout, patience, *rest)

    monkeypatch.setattr(ClassifierModel, "classify", classify)
    await caller.call(timeout=30)
    await caller.call(timeout=2)
    assert len(waits) == 4
    assert max(waits[2:]) < 0.7 < min(waits[:2]) == 1.0


async def test_whoever_asks_is_told_at_once_that_calls_wait_for_the_detector(models: Models, start: Start) -> None:
    recipe = models.recipe.model_dump()
    recipe["detector"]["address"] = f"127.0.0.1:{free_port()}"
    caller = await start(recipe)
    call = asyncio.ensure_future(caller.call())
    async with asyncio.timeout(10):
        while not (await caller.pipeline()).required_model_unavailable:
            await asyncio.sleep(0.01)
    assert not call.done()
    call.cancel()


async def test_a_detector_that_hangs_ends_at_the_deadline(models: Models, caller: Caller) -> None:
    models.detector.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.call(timeout=1.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(models.detector.cancelled.wait(), 20)


async def test_cancelling_stops_the_detector_and_all_classifiers(models: Models, caller: Caller) -> None:
    models.detector.gate.clear()
    call = caller.call()
    await asyncio.wait_for(models.detector.asked.wait(), 20)
    call.cancel()
    await asyncio.wait_for(models.detector.cancelled.wait(), 20)
    assert not models.first.requests
    models.detector.gate.set()
    models.first.gate.clear()
    models.second.gate.clear()
    call = caller.call()
    for classifier in (models.first, models.second):
        await asyncio.wait_for(classifier.asked.wait(), 20)
    call.cancel()
    for classifier in (models.first, models.second):
        await asyncio.wait_for(classifier.cancelled.wait(), 20)


async def test_overload_and_bad_images_are_no_absence(models: Models, caller: Caller) -> None:
    models.first.error = OverloadedError("the queue is full", 1)
    models.second.error = ServiceError("broken")
    await caller.recognize()
    assert await caller.available() == [True, True, False]
    models.first.error = models.second.error = None
    await caller.recognize()
    assert await caller.available() == [True, True, True]


async def test_a_model_that_keeps_failing_is_not_logged_for_every_request(
    models: Models, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    models.second.error = ServiceError("broken lens")
    for _ in range(5):
        assert (await caller.recognize()).degraded
    said = [
        r.getMessage() for r in caplog.records if r.name == "services.ensembler.models" and r.levelname == "WARNING"
    ]
    assert said == ["second did not answer: broken lens"]


async def test_crops_that_a_classifier_was_lost_with_are_not_shown_to_another(models: Models, caller: Caller) -> None:
    """They may be what it was lost by; others can stand in for it."""
    models.second.lost = 100
    models.second.asked.clear()
    answer = await caller.recognize()
    assert answer.degraded
    assert models.second.lost == 99
    # Where nobody can stand in, one more is asked, and no third.
    models.detector.probabilities = ()
    models.first.error = ServiceError("broken")
    with pytest.raises(grpc.aio.AioRpcError, match="lost") as caught:
        await caller.recognize()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert models.second.lost == 97


async def test_a_request_that_cost_its_classifiers_is_let_go_of_at_once(models: Models, caller: Caller) -> None:
    models.detector.probabilities = ()
    for classifier in (models.first, models.second):
        classifier.error = LostError("lost")
    with no_circles(ServiceError):
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError, match="lost") as caught:
                await caller.recognize()
            assert caught.value.code() is grpc.StatusCode.INTERNAL
        del caught
        await asyncio.sleep(0.05)
