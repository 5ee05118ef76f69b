"""The model `ferry` of a gateway, over real sockets."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ferry.inference import open_inference_grpc_pb2 as pb
from ferry.inference import open_inference_grpc_pb2_grpc as pb_grpc
from ferry.v1 import ensembler_pb2, types_pb2
from serving.errors import InvalidArgumentError
from serving.inference_v2.tensor import join, split
from tests.gateway.conftest import StartGateway
from tests.gateway.fakes import Counted, FakeEnsembler, Gateway, eventually, jpeg, refuse
from tests.services.running import refusal

Status = grpc.StatusCode


@pytest.fixture
async def stub(gateway: Gateway) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


def question(*images: bytes, raw: bool = True, model: str = "ferry", **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, **fields)
    given = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    if raw:
        request.raw_input_contents.append(join(images))
    else:
        given.contents.bytes_contents.extend(images)
    return request


def documents(answer: pb.ModelInferResponse) -> list[Any]:
    at = [output.name for output in answer.outputs].index("answer")
    items = split(answer.raw_output_contents[at], answer.outputs[at].shape[0], "answer")
    return [json.loads(item) for item in items]


async def test_answers_come_as_json_and_as_tensors(stub: Any) -> None:
    answer = await stub.ModelInfer(question(jpeg(1), jpeg(2), id="album"))
    assert (answer.model_name, answer.model_version, answer.id) == ("ferry", "1", "album")
    first, second = documents(answer)
    assert first["faces"][0]["expression"] == "happy"
    assert first["image_size"] == {"width": 64, "height": 48}
    assert first["request_id"].endswith(".0")
    assert second["request_id"].endswith(".1")
    shapes = {output.name: list(output.shape) for output in answer.outputs}
    assert shapes == {
        "answer": [2],
        "image_index": [2],
        "boxes": [2, 4],
        "scores": [2],
        "expressions": [2],
        "probabilities": [2, 7],
    }
    contents = dict(zip(shapes, answer.raw_output_contents, strict=True))
    assert struct.unpack("<2i", contents["image_index"]) == (0, 1)
    assert split(contents["expressions"], 2, "") == (b"happy", b"happy")
    assert [len(contents[name]) for name in ("boxes", "scores", "probabilities")] == [32, 8, 56]


async def test_typed_contents_are_answered_in_kind(stub: Any) -> None:
    answer = await stub.ModelInfer(question(jpeg(), raw=False, outputs=[{"name": "expressions"}]))
    assert list(answer.outputs[0].contents.bytes_contents) == [b"happy"]


async def test_no_face_is_an_answer(stub: Any, ensembler: FakeEnsembler) -> None:
    ensembler.faces = 0
    answer = await stub.ModelInfer(question(jpeg()))
    assert documents(answer)[0]["faces"] == []
    assert [list(output.shape) for output in answer.outputs][1:] == [[0], [0, 4], [0], [0], [0, 7]]


async def test_parameters_are_options_of_the_pipeline(stub: Any, ensembler: FakeEnsembler) -> None:
    given = {
        "max_faces": {"int64_param": 3},
        "min_face_size": {"double_param": 20},
        "vote": {"string_param": "hard"},
        "test_time_augmentation": {"bool_param": True},
        "bypass_cache": {"bool_param": True},
    }
    for _ in range(2):
        await stub.ModelInfer(question(jpeg(), parameters=given))
    options = ensembler_pb2.RecognizeOptions(
        max_faces=3, min_face_size=20, vote=types_pb2.VOTE_HARD, test_time_augmentation=True
    )
    assert [request.options for request in ensembler.requests] == [options] * 2


async def test_it_shares_cache_id_and_deadline_with_ferrys_own(
    stub: Any, gateway: Gateway, ensembler: FakeEnsembler
) -> None:
    await gateway.recognize(jpeg(9))
    answer = await stub.ModelInfer(question(jpeg(9)), timeout=7, metadata=[("x-request-id", "caller-0001")])
    (document,) = documents(answer)
    assert (document["cached"], document["request_id"]) == (True, "caller-0001")
    await stub.ModelInfer(question(jpeg(10)), timeout=7)
    assert 5 < ensembler.remaining[-1] < 7.5
    await stub.ModelInfer(question(jpeg(11), parameters={"timeout": {"int64_param": 3_000_000}}), timeout=20)
    assert 1 < ensembler.remaining[-1] < 3.5


async def test_a_question_whose_time_is_up_stops_its_work(stub: Any, ensembler: FakeEnsembler) -> None:
    ensembler.gate.clear()
    refused = await refusal(
        stub.ModelInfer, question(jpeg(1), jpeg(2), parameters={"timeout": {"int64_param": 200_000}})
    )
    assert refused.code is Status.DEADLINE_EXCEEDED
    await eventually(lambda: ensembler.cancelled == len(ensembler.requests))


async def test_metadata_and_index(stub: Any) -> None:
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).name == "ferry-gateway"
    about = await stub.ModelMetadata(pb.ModelMetadataRequest(name="ferry"))
    assert [(t.name, t.datatype, list(t.shape)) for t in about.inputs] == [("image", "BYTES", [-1])]
    config = (await stub.ModelConfig(pb.ModelConfigRequest(name="ferry"))).config
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [("image", pb.TYPE_STRING, [-1])]
    assert [(t.name, list(t.dims)) for t in config.output] == [(t.name, list(t.shape)) for t in about.outputs]
    assert config.max_batch_size == 0
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert [(m.name, m.version, m.state) for m in index.models] == [("ferry", "1", "READY")]
    assert (await refusal(stub.ModelConfig, pb.ModelConfigRequest(name="fairy"))).code is Status.NOT_FOUND
    for name, version, ready in [("ferry", "1", True), ("ferry", "2", False), ("other", "", False)]:
        assert (await stub.ModelReady(pb.ModelReadyRequest(name=name, version=version))).ready == ready


def number(name: str, value: float) -> dict[str, Any]:
    return {name: {"int64_param": value} if isinstance(value, int) else {"double_param": value}}


@pytest.mark.parametrize(
    ("request_", "code", "field", "said"),
    [
        (question(jpeg(), model="fairy"), Status.NOT_FOUND, "", "there is ferry 1"),
        (question(jpeg(), model_version="7"), Status.NOT_FOUND, "", "there is ferry 1"),
        (question(jpeg(), b"no image"), Status.INVALID_ARGUMENT, "inputs[image][1]", ""),
        (question(b""), Status.INVALID_ARGUMENT, "inputs[image][0]", "empty"),
        (question(*[jpeg()] * 17), Status.INVALID_ARGUMENT, "inputs[image].shape", "[1] to [16]"),
        (
            question(jpeg(), parameters=number("max_faces", 1000)),
            Status.INVALID_ARGUMENT,
            "parameters[max_faces]",
            "0 (the default) to",
        ),
        (
            question(jpeg(), parameters=number("max_faces", 2**40)),
            Status.INVALID_ARGUMENT,
            "parameters[max_faces]",
            "out of its range",
        ),
        (
            question(jpeg(), parameters=number("min_detection_score", float("inf"))),
            Status.INVALID_ARGUMENT,
            "parameters[min_detection_score]",
            "not a finite number",
        ),
        (
            question(jpeg(), parameters={"vote": {"string_param": "loud"}}),
            Status.INVALID_ARGUMENT,
            "parameters[vote]",
            "soft or hard",
        ),
    ],
)
async def test_refusals(stub: Any, request_: Any, code: grpc.StatusCode, field: str, said: str) -> None:
    refused = await refusal(stub.ModelInfer, request_)
    assert (refused.code, refused.field) == (code, field)
    assert said in refused.message


async def test_an_image_that_a_service_behind_refuses_is_named_too(stub: Any, ensembler: FakeEnsembler) -> None:
    async def behave(_: FakeEnsembler, request: Any, context: Any) -> None:
        if request.image == jpeg(2):
            await refuse(context, InvalidArgumentError("image", "is a broken or truncated JPEG file"))

    ensembler.behave = behave
    refused = await refusal(stub.ModelInfer, question(jpeg(1), jpeg(2), jpeg(3)))
    assert (refused.code, refused.field) == (Status.INVALID_ARGUMENT, "inputs[image][1]")
    assert "broken or truncated" in refused.message


async def test_its_images_count_as_all_others(start_gateway: StartGateway, ensembler: FakeEnsembler) -> None:
    gateway = await start_gateway(max_concurrency=2)
    refusals = Counted("ferry_rejected_total", {"reason": "overload"})
    ensembler.gate.clear()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        first = stub.ModelInfer(question(jpeg(1), jpeg(2)))
        await eventually(lambda: len(ensembler.requests) == 2)
        assert (await refusal(stub.ModelInfer, question(jpeg(3)))).code is Status.RESOURCE_EXHAUSTED
        ensembler.gate.set()
        assert len(documents(await first)) == 2
    assert refusals() == 1


async def test_a_kept_answer_says_nothing_of_how_long_the_next_will_take(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    in_flight = gateway.service._admission._in_flight
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        await stub.ModelInfer(question(jpeg(1)))
        learnt = in_flight._mean_seconds
        await stub.ModelInfer(question(jpeg(1)))
        assert in_flight._mean_seconds == learnt
        await stub.ModelInfer(question(jpeg(1), jpeg(2)))
        assert in_flight._mean_seconds != learnt


async def test_a_key_is_asked_for_except_by_probes(start_gateway: StartGateway, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b's3cret').hexdigest()}\n")
    gateway = await start_gateway(api_keys=keys)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        for method, request in (
            (stub.ModelInfer, question(jpeg())),
            (stub.ModelReady, pb.ModelReadyRequest(name="ferry")),
            (stub.ServerMetadata, pb.ServerMetadataRequest()),
            (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
        ):
            assert (await refusal(method, request)).code is Status.UNAUTHENTICATED
        metadata = [("authorization", "Bearer s3cret")]
        assert len(documents(await stub.ModelInfer(question(jpeg()), metadata=metadata))) == 1
