"""Classifiers by the Open Inference Protocol, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from ferry.inference import open_inference_grpc_pb2 as pb
from ferry.inference import open_inference_grpc_pb2_grpc as pb_grpc
from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from services.classifier.service import ClassifierService
from serving.server import Server
from serving.tensors import from_tensor, to_tensor
from tests.gateway.fakes import Counted
from tests.services.classifier.test_service import ANGRY, HAPPY, crops, expected, settings
from tests.services.running import refusal, serve
from tests.tiny_models import classifier_graph, classifier_manifest, publish

Status = grpc.StatusCode


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """happy 1 and 2 (whose second version says angry), happy 3 that is not served, and other 1 with embeddings."""
    publish(tmp_path, classifier_manifest("happy", "1"), classifier_graph(HAPPY))
    publish(tmp_path, classifier_manifest("happy", "2"), classifier_graph(ANGRY))
    publish(tmp_path, classifier_manifest("happy", "3"), classifier_graph(ANGRY))
    output = classifier_manifest().output.model_copy(update={"embedding": "embedding"})
    publish(tmp_path, classifier_manifest("other", output=output), classifier_graph(HAPPY, embedding=True))
    chosen = settings(tmp_path, models="happy:1+2,other", max_batch=4)
    async with serve(ClassifierService(chosen), chosen) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return pb_grpc.GRPCInferenceServiceStub(channel)


def question(pixels: npt.NDArray[np.uint8], *, raw: bool = True, model: str = "happy", **fields: Any) -> Any:
    request = pb.ModelInferRequest(model_name=model, **fields)
    given = request.inputs.add(name="crops", datatype="UINT8", shape=pixels.shape)
    if raw:
        request.raw_input_contents.append(pixels.tobytes())
    else:
        given.contents.uint_contents.extend(pixels.flatten().tolist())
    return request


def probabilities(answer: pb.ModelInferResponse) -> npt.NDArray[np.float32]:
    (output,) = (output for output in answer.outputs if output.name == "probabilities")
    if answer.raw_output_contents:
        values = np.frombuffer(answer.raw_output_contents[0], "<f4")
    else:
        values = np.array(output.contents.fp32_contents, np.float32)
    return values.reshape(output.shape)


async def test_server_and_models_say_what_they_are(stub: Any) -> None:
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    about = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert about.name == "ferry-classifier-happy"
    assert about.version
    happy = await stub.ModelMetadata(pb.ModelMetadataRequest(name="happy"))
    assert (happy.name, list(happy.versions), happy.platform) == ("happy", ["1", "2"], "ferry")
    assert [(t.name, t.datatype, list(t.shape)) for t in happy.inputs] == [("crops", "UINT8", [-1, -1, -1, 3])]
    assert [(t.name, t.datatype, list(t.shape)) for t in happy.outputs] == [("probabilities", "FP32", [-1, 7])]
    other = await stub.ModelMetadata(pb.ModelMetadataRequest(name="other", version="1"))
    assert [t.name for t in other.outputs] == ["probabilities", "embeddings"]


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("happy", "", True), ("happy", "2", True), ("happy", "3", False), ("none", "", False)],
)
async def test_readiness_of_a_model(stub: Any, name: str, version: str, ready: bool) -> None:
    assert (await stub.ModelReady(pb.ModelReadyRequest(name=name, version=version))).ready == ready


async def test_the_index_has_every_version(stub: Any) -> None:
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert [(m.name, m.version, m.state) for m in index.models] == [
        ("happy", "1", "READY"),
        ("happy", "2", "READY"),
        ("happy", "3", "UNAVAILABLE"),
        ("other", "1", "READY"),
    ]
    assert index.models[2].reason == "not the version that is served"
    ready = await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
    assert [m.version for m in ready.models] == ["1", "2", "1"]


@pytest.mark.parametrize("raw", [True, False])
async def test_an_answer_is_that_of_ferrys_own_method(stub: Any, channel: grpc.aio.Channel, raw: bool) -> None:
    pixels = crops(0, 100, 255)
    answer = await stub.ModelInfer(question(pixels, raw=raw, id="seven"))
    np.testing.assert_allclose(probabilities(answer), expected(0, 100, 255), atol=1e-5)
    assert (answer.model_name, answer.model_version, answer.id) == ("happy", "1", "seven")
    own = await classifier_pb2_grpc.ClassifierStub(channel).Classify(
        classifier_pb2.ClassifyRequest(crops=to_tensor(pixels))
    )
    np.testing.assert_array_equal(probabilities(answer), from_tensor(own.probabilities, "probabilities"))
    assert answer.parameters["digest"].string_param == own.model.digest
    assert bool(answer.raw_output_contents) == raw


async def test_a_version_can_be_asked_for(stub: Any) -> None:
    answer = await stub.ModelInfer(question(crops(255), model_version="2"))
    assert answer.model_version == "2"
    np.testing.assert_allclose(probabilities(answer), expected(255, slope=ANGRY), atol=1e-5)


async def test_outputs_are_those_asked_for(stub: Any) -> None:
    both = await stub.ModelInfer(question(crops(255), model="other"))
    assert [output.name for output in both.outputs] == ["probabilities", "embeddings"]
    one = await stub.ModelInfer(question(crops(255), model="other", outputs=[{"name": "embeddings"}]))
    assert [(output.name, list(output.shape)) for output in one.outputs] == [("embeddings", [1, 2])]
    assert len(one.raw_output_contents) == 1


async def test_questions_of_both_contracts_share_a_run(tmp_path: Path) -> None:
    publish(tmp_path, classifier_manifest("busy"), classifier_graph(HAPPY, idle_products=40))
    chosen = settings(tmp_path, models="busy", max_batch=4)
    rows = Counted("ferry_inference_batch_size_sum", {"model": "busy", "version": "1"})
    runs = Counted("ferry_inference_batch_size_count", {"model": "busy", "version": "1"})
    async with serve(ClassifierService(chosen), chosen) as channel:
        stub, own = pb_grpc.GRPCInferenceServiceStub(channel), classifier_pb2_grpc.ClassifierStub(channel)
        await asyncio.gather(
            *(stub.ModelInfer(question(crops(level), model="busy")) for level in range(12)),
            *(own.Classify(classifier_pb2.ClassifyRequest(crops=to_tensor(crops(level)))) for level in range(12)),
        )
    assert rows() == 24
    assert runs() < 24


async def test_calls_are_counted_by_method_and_status(stub: Any) -> None:
    labels = {"rpc_service": "inference.GRPCInferenceService", "rpc_method": "ModelInfer"}
    good = Counted("rpc_server_call_duration_seconds_count", {**labels, "grpc_status": "OK"})
    bad = Counted("rpc_server_call_duration_seconds_count", {**labels, "grpc_status": "NOT_FOUND"})
    await stub.ModelInfer(question(crops(1)))
    await refusal(stub.ModelInfer, question(crops(1), model="none"))
    assert (good(), bad()) == (1, 1)


@pytest.mark.parametrize(
    ("request_", "code", "field", "said"),
    [
        (question(crops(1), model="none"), Status.NOT_FOUND, "", "there is happy 1, happy 2, other 1"),
        (question(crops(1), model_version="3"), Status.NOT_FOUND, "", "version '3' is not served here"),
        (question(crops(1), model_version="../1"), Status.NOT_FOUND, "", "is not served here"),
        (question(crops(1), model=""), Status.INVALID_ARGUMENT, "model_name", "say which model"),
        (question(crops(1, side=4)), Status.INVALID_ARGUMENT, "crops", "sides of 8 to 512"),
        (question(np.zeros((257, 8, 8, 3), np.uint8)), Status.INVALID_ARGUMENT, "crops", "1 to 256 crops"),
        (question(crops(1)[..., :2]), Status.INVALID_ARGUMENT, "inputs[crops].shape", "does not fit"),
        (
            question(crops(1), parameters={"test_time_augmentation": {"string_param": "yes"}}),
            Status.INVALID_ARGUMENT,
            "parameters[test_time_augmentation]",
            "true or false",
        ),
    ],
)
async def test_refusals(stub: Any, request_: Any, code: grpc.StatusCode, field: str, said: str) -> None:
    refused = await refusal(stub.ModelInfer, request_)
    assert (refused.code, refused.field) == (code, field)
    assert said in refused.message
    assert (await stub.ModelInfer(question(crops(1)))).model_version == "1"


async def test_augmentation_is_a_parameter(stub: Any) -> None:
    plain = probabilities(await stub.ModelInfer(question(crops(200))))
    augmented = await stub.ModelInfer(question(crops(200), parameters={"test_time_augmentation": {"bool_param": True}}))
    assert np.abs(probabilities(augmented) - plain).max() > 1e-4


async def test_a_question_may_be_shorter_lived_than_its_call(stub: Any) -> None:
    refused = await refusal(stub.ModelInfer, question(crops(*range(250)), parameters={"timeout": {"int64_param": 1}}))
    assert refused.code is Status.DEADLINE_EXCEEDED


async def test_what_is_not_offered_says_so(channel: grpc.aio.Channel) -> None:
    load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await load(b"", timeout=30)
    assert raised.value.code() is Status.UNIMPLEMENTED


async def test_it_is_alive_and_not_ready_while_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, classifier_manifest("happy", "1"), classifier_graph(HAPPY))
    chosen = settings(tmp_path, models="happy")
    service = ClassifierService(chosen)
    seen: list[Any] = []
    load = service.start

    async def start() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            early = pb_grpc.GRPCInferenceServiceStub(opened)
            seen.append((await early.ServerLive(pb.ServerLiveRequest(), timeout=30)).live)
            seen.append((await early.ServerReady(pb.ServerReadyRequest(), timeout=30)).ready)
            seen.append((await refusal(early.ModelReady, pb.ModelReadyRequest(name="happy"))).code)
        await load()

    monkeypatch.setattr(service, "start", start)
    server = Server(service, chosen)
    await server.start()
    try:
        assert seen == [True, False, Status.UNAVAILABLE]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            assert (await pb_grpc.GRPCInferenceServiceStub(opened).ServerReady(pb.ServerReadyRequest())).ready
    finally:
        await server.stop()
