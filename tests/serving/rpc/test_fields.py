"""Messages of millions of empty fields are refused before they become objects."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from ferry.inference import open_inference_grpc_pb2 as pb
from ferry.v1 import ensembler_pb2, gateway_pb2
from serving.rpc.fields import MOST_FIELDS, descriptor_of, excess
from tests.serving.fakes import FakeService, running

LARGE = bytes(100_000)
OPTIONS = ensembler_pb2.RecognizeOptions(
    max_faces=9, min_detection_score=0.5, min_face_size=20, test_time_augmentation=True, vote=1, detail=1
)
SPARE, TEXT = "65,536 bytes that nobody reads", "65,536 bytes of text in one field"
IMAGE = b"\x0a" + b"\xa0\x8d\x06" + LARGE
FIELDS, NUMBERS = "8,192 fields", "4,194,304 numbers"


PARAMETER = b"\x22\x04\x0a\x02ab"
"""An entry of the map `parameters`, of a request and of a tensor."""


def batch(count: int) -> bytes:
    requests = [gateway_pb2.RecognizeRequest(image=b"x" * 8)] * count
    return gateway_pb2.RecognizeBatchRequest(requests=requests).SerializeToString()


def tensor(inner: bytes) -> bytes:
    """A request with one input that holds `inner`."""
    return b"\x2a" + varint(len(inner)) + inner


def contents(inner: bytes) -> bytes:
    return tensor(b"\x2a" + varint(len(inner)) + inner)


def varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


@pytest.mark.parametrize(
    ("message", "kind", "refused"),
    [
        (b"", pb.ModelInferRequest, ""),
        (b"\x2a\x00" * 5_000_000, pb.ModelInferRequest, FIELDS),
        (b"\xf8\x07\x01" * 1_000_000, pb.ModelInferRequest, FIELDS),
        (b"\x0b\x0c" + b"\x2a\x00" * 100_000, pb.ModelInferRequest, FIELDS),
        (b"\x0b" + b"\x2a\x00" * 100_000 + b"\x0c", pb.ModelInferRequest, FIELDS),
        (contents(b"\x42\x00" * 100_000), pb.ModelInferRequest, FIELDS),
        (contents(b"\x10\x01" * 100_000), pb.ModelInferRequest, FIELDS),
        (tensor(PARAMETER * 100_000), pb.ModelInferRequest, FIELDS),
        (PARAMETER * 5_000, pb.ModelInferRequest, FIELDS),
        # What cannot be read behind it does not hide it.
        (tensor(PARAMETER * 100_000) + b"\x2a\x01\xff", pb.ModelInferRequest, FIELDS),
        (contents(b"\x1a" + varint(5_000_000) + b"\x01" * 5_000_000), pb.ModelInferRequest, NUMBERS),
        (contents(b"\x22" + varint(4_000_000) + b"\x01" * 4_000_000), pb.ModelInferRequest, ""),
        (contents(b"\x22" + varint(8_000_000) + b"\xff\x01" * 4_000_000), pb.ModelInferRequest, ""),
        (b"\x09" + bytes(8) + b"\x0d" + bytes(4) + b"\x3a\xa0\x8d\x06" + LARGE, pb.ModelInferRequest, ""),
        # A later image takes the place of an earlier one, which is held all the same.
        (IMAGE, gateway_pb2.RecognizeRequest, ""),
        (IMAGE * 2, gateway_pb2.RecognizeRequest, SPARE),
        (b"\x0a" + varint(len(IMAGE)) + IMAGE, gateway_pb2.SubmitJobRequest, ""),
        ((b"\x0a" + varint(len(IMAGE)) + IMAGE) * 2, gateway_pb2.SubmitJobRequest, SPARE),
        ((b"\x0a" + varint(len(IMAGE)) + IMAGE) * 2, gateway_pb2.RecognizeBatchRequest, ""),
        (b"\x0a\x01x\x7a\xa0\x8d\x06" + LARGE, gateway_pb2.RecognizeRequest, SPARE),
        (b"\x12" + varint(100_004) + b"\x7a\xa0\x8d\x06" + LARGE, gateway_pb2.RecognizeRequest, SPARE),
        (b"\x0a\xa0\x8d\x06" + LARGE, pb.ModelInferRequest, TEXT),
        (batch(MOST_FIELDS // 2), gateway_pb2.RecognizeBatchRequest, ""),
        (batch(MOST_FIELDS // 2 + 1), gateway_pb2.RecognizeBatchRequest, FIELDS),
        (
            gateway_pb2.RecognizeRequest(image=b"\x2a\x00" * 100_000, bypass_cache=True).SerializeToString(),
            gateway_pb2.RecognizeRequest,
            "",
        ),
        (
            pb.ModelInferRequest(model_name="x", raw_input_contents=[LARGE]).SerializeToString(),
            pb.ModelInferRequest,
            "",
        ),
        (b"\xff" * 100_000, pb.ModelInferRequest, ""),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + LARGE, pb.ModelInferRequest, ""),
    ],
)
def test_fields_are_counted(message: bytes, kind: Any, refused: str) -> None:
    assert excess(message, descriptor_of(kind.FromString)) == refused


@pytest.mark.parametrize(
    "largest",
    [
        gateway_pb2.RecognizeBatchRequest(
            requests=[gateway_pb2.RecognizeRequest(image=bytes(100), bypass_cache=True, options=OPTIONS)] * 256
        ),
        gateway_pb2.SubmitFeedbackBatchRequest(
            feedback=[gateway_pb2.SubmitFeedbackRequest(request_id="x" * 64, face_index=9, expression=3)] * 1000
        ),
    ],
)
def test_the_largest_that_are_served_fit(largest: Message) -> None:
    assert excess(largest.SerializeToString(), largest.DESCRIPTOR) == ""


async def test_millions_of_empty_fields_are_refused_unread() -> None:
    async with running(FakeService()) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/ferry.v1.Classifier/Classify")(b"\x0a\x00" * 100_000, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "request: has more than 8,192 fields"
