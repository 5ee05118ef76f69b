"""Detectors by the Open Inference Protocol, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from ferry.inference import open_inference_grpc_pb2 as pb
from ferry.inference import open_inference_grpc_pb2_grpc as pb_grpc
from services.detector.service import DetectorService
from serving.inference_v2.tensor import join
from tests.services.detector.test_service import BRIGHT, DARK, picture, settings
from tests.services.running import refusal, serve
from tests.tiny_models import FACE, detector_graph, detector_manifest, publish

Status = grpc.StatusCode
DTYPES = {"FP32": "<f4", "INT32": "<i4", "UINT8": "u1"}


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Any]:
    publish(tmp_path, detector_manifest(version="1"), detector_graph())
    chosen = settings(tmp_path, model="detector", max_image_bytes=200_000, max_megapixels=1)
    async with serve(DetectorService(chosen), chosen) as channel:
        yield pb_grpc.GRPCInferenceServiceStub(channel)


def question(*images: bytes, raw: bool = True, **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="detector", **fields)
    given = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    if raw:
        request.raw_input_contents.append(join(images))
    else:
        given.contents.bytes_contents.extend(images)
    return request


def tensors(answer: pb.ModelInferResponse) -> dict[str, npt.NDArray[Any]]:
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {o.name: np.frombuffer(data, DTYPES[o.datatype]).reshape(o.shape) for o, data in pairs}


async def test_faces_of_several_images_stand_in_one_table(stub: Any) -> None:
    found = tensors(await stub.ModelInfer(question(BRIGHT, DARK, picture(128, 128))))
    assert found["image_index"].tolist() == [0, 2]
    np.testing.assert_allclose(found["boxes"], [FACE, [2 * side for side in FACE]], atol=1e-3)
    assert found["scores"].shape == (2,)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, atol=1e-4)
    assert found["image_sizes"].tolist() == [[64, 64], [64, 64], [128, 128]]
    assert found["crops"].shape == (2, 0, 0, 3)


async def test_no_face_is_an_answer(stub: Any) -> None:
    found = tensors(await stub.ModelInfer(question(DARK)))
    assert found["boxes"].shape == (0, 4)
    assert found["probabilities"].shape == (0, 7)


async def test_crops_are_cut_on_request(stub: Any) -> None:
    found = tensors(await stub.ModelInfer(question(BRIGHT, parameters={"crop_size": {"int64_param": 32}})))
    assert found["crops"].shape == (1, 32, 32, 3)
    assert found["crops"].mean() > 150


async def test_typed_contents_are_answered_in_kind(stub: Any) -> None:
    answer = await stub.ModelInfer(question(BRIGHT, raw=False, outputs=[{"name": "boxes"}]))
    np.testing.assert_allclose(answer.outputs[0].contents.fp32_contents, FACE, atol=1e-3)
    assert not answer.raw_output_contents


async def test_its_metadata_names_every_tensor(stub: Any) -> None:
    about = await stub.ModelMetadata(pb.ModelMetadataRequest(name="detector"))
    assert [(t.name, t.datatype, list(t.shape)) for t in about.inputs] == [("image", "BYTES", [-1])]
    answer = await stub.ModelInfer(question(BRIGHT))
    for said, given in zip(about.outputs, answer.outputs, strict=True):
        assert (said.name, said.datatype, len(said.shape)) == (given.name, given.datatype, len(given.shape))


def number(name: str, value: float) -> dict[str, Any]:
    return {name: {"int64_param": value} if isinstance(value, int) else {"double_param": value}}


@pytest.mark.parametrize(
    ("request_", "field", "said"),
    [
        (question(BRIGHT, b"no image"), "inputs[image][1]", ""),
        (question(b""), "inputs[image][0]", ""),
        (question(b"x" * 200_001), "inputs[image][0]", "more than 200000"),
        (question(*[BRIGHT] * 17), "inputs[image].shape", "[1] to [16]"),
        (question(BRIGHT, parameters=number("max_faces", -1)), "parameters[max_faces]", "out of its range"),
        (question(BRIGHT, parameters=number("max_faces", 257)), "parameters[max_faces]", "at most 256"),
        (question(BRIGHT, parameters=number("min_score", float("nan"))), "parameters[min_score]", "[0, 1]"),
        (question(BRIGHT, parameters=number("crop_size", 7)), "parameters[crop_size]", "8 to 512"),
        (question(*[BRIGHT] * 16, parameters=number("crop_size", 256)), "parameters[crop_size]", "exceed 48 MiB"),
    ],
)
async def test_refusals(stub: Any, request_: Any, field: str, said: str) -> None:
    refused = await refusal(stub.ModelInfer, request_)
    assert (refused.code, refused.field) == (Status.INVALID_ARGUMENT, field)
    assert said in refused.message
