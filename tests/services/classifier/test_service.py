"""The classifier over real sockets, with models whose answers can be computed by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc, types_pb2
from services.classifier import service as service_module
from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from services.classifier.views import VIEWS, make_views
from serving.tensors import from_tensor, to_tensor
from tests.services.running import refusal, serve
from tests.tiny_models import SIDE, classifier_graph, classifier_manifest, publish, softmax

Status = grpc.StatusCode
HAPPY, ANGRY = (0, 0, 0, 4, 0, 0, 0), (4, 0, 0, 0, 0, 0, 0)


def settings(root: Path, **changes: Any) -> ClassifierSettings:
    options = {"models_dir": root, "port": 0, "backend": "onnxruntime", "threads": 1, "reload_interval": 0}
    return ClassifierSettings(**(options | changes))


@pytest.fixture
async def classifier(tmp_path: Path) -> AsyncIterator[Any]:
    """happy 1 and 2 (whose second version says angry), and other 1, which has embeddings."""
    publish(tmp_path, classifier_manifest("happy", "1"), classifier_graph(HAPPY))
    publish(tmp_path, classifier_manifest("happy", "2"), classifier_graph(ANGRY))
    output = classifier_manifest().output.model_copy(update={"embedding": "embedding"})
    publish(tmp_path, classifier_manifest("other", output=output), classifier_graph(HAPPY, embedding=True))
    chosen = settings(tmp_path, models="happy:1+2,other", max_batch=4)
    async with serve(ClassifierService(chosen), chosen) as channel:
        yield classifier_pb2_grpc.ClassifierStub(channel)


def crops(*levels: int, side: int = SIDE) -> npt.NDArray[np.uint8]:
    return np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])


async def classify(stub: Any, pixels: npt.NDArray[np.uint8], **options: Any) -> classifier_pb2.ClassifyResponse:
    request = classifier_pb2.ClassifyRequest(crops=to_tensor(pixels), **options)
    answer = await stub.Classify(request, timeout=30)
    assert isinstance(answer, classifier_pb2.ClassifyResponse)
    return answer


def probabilities(answer: classifier_pb2.ClassifyResponse) -> npt.NDArray[np.float32]:
    return from_tensor(answer.probabilities, "probabilities")


def expected(*levels: int, slope: tuple[float, ...] = HAPPY) -> npt.NDArray[np.float64]:
    return np.stack([softmax([level / 255 * s for s in slope]) for level in levels])


async def test_every_crop_gets_its_probabilities_in_order(classifier: Any) -> None:
    answer = await classify(classifier, crops(0, 255, 128))
    np.testing.assert_allclose(probabilities(answer), expected(0, 255, 128), atol=1e-5)
    assert answer.compute_ms > 0
    assert not answer.HasField("embeddings")


@pytest.mark.parametrize("side", [8, 48, 224, 512])
async def test_crops_of_any_size_are_resized(classifier: Any, side: int) -> None:
    np.testing.assert_allclose(probabilities(await classify(classifier, crops(99, side=side))), expected(99), atol=1e-5)


async def test_more_crops_than_a_batch_are_split_and_put_together(classifier: Any) -> None:
    levels = list(range(0, 250, 10))
    np.testing.assert_allclose(probabilities(await classify(classifier, crops(*levels))), expected(*levels), atol=1e-5)


async def test_256_crops_with_augmentation(classifier: Any) -> None:
    levels = list(range(256))
    answer = await classify(classifier, crops(*levels, side=8), test_time_augmentation=True)
    assert probabilities(answer).shape == (256, 7)


async def test_augmentation_averages_the_views_after_softmax(classifier: Any) -> None:
    generator = np.random.default_rng(0)
    pixels = np.repeat(generator.integers(0, 256, (3, SIDE, SIDE, 1), np.uint8), 3, axis=3)
    answer = await classify(classifier, pixels, test_time_augmentation=True)
    single = [probabilities(await classify(classifier, view)) for view in make_views(pixels)]
    assert len(single) == len(VIEWS)
    np.testing.assert_allclose(probabilities(answer), np.mean(single, axis=0), atol=1e-5)
    again = await classify(classifier, pixels, test_time_augmentation=True)
    np.testing.assert_array_equal(probabilities(again), probabilities(answer))


async def test_embeddings_come_when_asked_for_and_known(classifier: Any) -> None:
    answer = await classify(classifier, crops(0, 255), model_name="other", include_embeddings=True)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(from_tensor(answer.embeddings, "e"), [[0, 1], [half, half]], atol=1e-5)
    assert not (await classify(classifier, crops(0), model_name="other")).HasField("embeddings")
    assert not (await classify(classifier, crops(0), include_embeddings=True)).HasField("embeddings")


async def test_embeddings_are_those_of_the_crop_itself_also_with_augmentation(classifier: Any) -> None:
    options = {"model_name": "other", "include_embeddings": True}
    plain = await classify(classifier, crops(10, 200), **options)
    augmented = await classify(classifier, crops(10, 200), **options, test_time_augmentation=True)
    np.testing.assert_allclose(from_tensor(augmented.embeddings, "e"), from_tensor(plain.embeddings, "e"), atol=1e-6)


async def test_models_and_versions_answer_side_by_side_and_say_which_they_are(classifier: Any) -> None:
    first = await classify(classifier, crops(255))
    second = await classify(classifier, crops(255), model_version="2")
    other = await classify(classifier, crops(255), model_name="other")
    models = [(a.model.name, a.model.version) for a in (first, second, other)]
    assert models == [("happy", "1"), ("happy", "2"), ("other", "1")]
    assert len({a.model.digest for a in (first, second, other)}) == 3
    np.testing.assert_allclose(probabilities(second), expected(255, slope=ANGRY), atol=1e-5)


@pytest.mark.parametrize("wanted", [{"model_version": "9"}, {"model_name": "nobody"}, {"model_name": "/etc/passwd"}])
async def test_a_model_that_is_not_served_is_not_found(classifier: Any, wanted: dict[str, str]) -> None:
    request = classifier_pb2.ClassifyRequest(crops=to_tensor(crops(0)), **wanted)
    refused = await refusal(classifier.Classify, request)
    assert refused.code is Status.NOT_FOUND
    assert "happy 1, happy 2, other 1" in refused.message


def tensor(*shape: int, data_type: types_pb2.DataType.ValueType = types_pb2.DATA_TYPE_UINT8) -> types_pb2.Tensor:
    size = int(np.prod(shape)) * (4 if data_type == types_pb2.DATA_TYPE_FLOAT32 else 1)
    return types_pb2.Tensor(data_type=data_type, shape=shape, data=bytes(size))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (types_pb2.Tensor(), "crops.data_type"),
        (types_pb2.Tensor(data_type=77, shape=[1], data=b"x"), "crops.data_type"),  # type: ignore[arg-type]
        (types_pb2.Tensor(data_type=types_pb2.DATA_TYPE_UINT8, shape=[1, 8, 8, 3], data=b"x"), "crops.data"),
        (types_pb2.Tensor(data_type=types_pb2.DATA_TYPE_UINT8, shape=[65_536] * 4), "crops.data"),
        (tensor(1, 8, 8, 3, data_type=types_pb2.DATA_TYPE_FLOAT32), "crops"),
        (tensor(8, 8, 3), "crops"),
        (tensor(1, 8, 8, 1), "crops"),
        (tensor(1, 3, 8, 8), "crops"),
        (tensor(0, 8, 8, 3), "crops"),
        (tensor(257, 8, 8, 3), "crops"),
        (tensor(1, 7, 8, 3), "crops"),
        (tensor(1, 8, 513, 3), "crops"),
        (tensor(1, 0, 8, 3), "crops"),
    ],
)
async def test_crops_that_do_not_fit_are_refused(classifier: Any, given: types_pb2.Tensor, field: str) -> None:
    refused = await refusal(classifier.Classify, classifier_pb2.ClassifyRequest(crops=given))
    assert (refused.code, refused.field) == (Status.INVALID_ARGUMENT, field)


async def test_callers_with_good_and_bad_crops_side_by_side(classifier: Any) -> None:
    async def good(level: int) -> None:
        answer = await classify(classifier, crops(level))
        np.testing.assert_allclose(probabilities(answer), expected(level), atol=1e-5)

    async def bad() -> None:
        refused = await refusal(classifier.Classify, classifier_pb2.ClassifyRequest(crops=tensor(1, 2, 2, 3)))
        assert refused.code is Status.INVALID_ARGUMENT

    await asyncio.gather(*(good(level) for level in range(40)), *(bad() for _ in range(10)))


async def test_callers_that_leave_do_not_disturb_the_others(classifier: Any) -> None:
    request = classifier_pb2.ClassifyRequest(crops=to_tensor(crops(*range(64))))
    leaving = [classifier.Classify(request, timeout=30) for _ in range(10)]
    staying = [asyncio.create_task(classify(classifier, crops(level))) for level in range(20)]
    for call in leaving:
        call.cancel()
    answers = await asyncio.gather(*staying)
    for level, answer in enumerate(answers):
        np.testing.assert_allclose(probabilities(answer), expected(level), atol=1e-5)


async def test_a_model_that_gives_no_numbers_is_an_error_and_not_an_answer(tmp_path: Path) -> None:
    slope = (float("nan"),) * 7
    publish(tmp_path, classifier_manifest("odd"), classifier_graph(slope))
    chosen = settings(tmp_path, models="odd")
    async with serve(ClassifierService(chosen), chosen) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        refused = await refusal(stub.Classify, classifier_pb2.ClassifyRequest(crops=to_tensor(crops(9))))
    assert refused.code is Status.INTERNAL
    assert "odd 1" in refused.message


@pytest.mark.parametrize("models", ["", "Happy", "a,a", "a:x", "../a"])
def test_a_setting_that_names_no_model_is_refused_by_flag(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    from serving.settings import load

    with pytest.raises(SystemExit) as ended:
        load(ClassifierSettings, ["--models", models])
    assert ended.value.code == 2
    assert "--models (or FERRY_MODELS)" in capsys.readouterr().err


async def test_crops_that_a_thread_still_prepares_are_held_when_their_caller_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, classifier_manifest("happy", "1"), classifier_graph(HAPPY))
    chosen = settings(tmp_path, models="happy", crop_budget=1)
    service = ClassifierService(chosen)
    prepare, began, go_on = service_module._rows, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(*arguments: Any) -> Any:
        loop.call_soon_threadsafe(began.set)
        assert go_on.wait(30)
        return prepare(*arguments)

    async with serve(service, chosen) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        monkeypatch.setattr(service_module, "_rows", slow)
        leaving = asyncio.ensure_future(classify(stub, crops(0, side=512)))
        await began.wait()
        monkeypatch.setattr(service_module, "_rows", prepare)
        leaving.cancel()
        next_one = asyncio.create_task(classify(stub, crops(255, side=512)))
        done, _ = await asyncio.wait({next_one}, timeout=0.3)
        assert not done, "both do not fit"
        go_on.set()
        np.testing.assert_allclose(probabilities(await next_one), expected(255), atol=1e-5)
