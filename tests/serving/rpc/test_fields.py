"""Messages of millions of empty fields are refused before they become objects."""

from __future__ import annotations

import grpc
import pytest

from ferry.inference import open_inference_grpc_pb2 as pb
from ferry.v1 import gateway_pb2
from serving.rpc.fields import MOST_FIELDS, too_many
from tests.serving.fakes import FakeService, running

LARGE = bytes(100_000)


def batch(count: int) -> bytes:
    requests = [gateway_pb2.RecognizeRequest(image=b"x" * 8)] * count
    return gateway_pb2.RecognizeBatchRequest(requests=requests).SerializeToString()


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (b"", False),
        (b"\x2a\x00" * 5_000_000, True),
        (b"\xf8\x07\x01" * 1_000_000, True),
        (b"\x09" + bytes(8) + b"\x0d" + bytes(4) + b"\x0a\xa0\x8d\x06" + LARGE, False),
        (batch(MOST_FIELDS), False),
        (batch(MOST_FIELDS + 1), True),
        (gateway_pb2.RecognizeRequest(image=b"\x2a\x00" * 100_000, bypass_cache=True).SerializeToString(), False),
        (pb.ModelInferRequest(model_name="x", raw_input_contents=[LARGE]).SerializeToString(), False),
        (b"\xff" * 100_000, False),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + LARGE, False),
    ],
)
def test_fields_are_counted(message: bytes, refused: bool) -> None:
    assert too_many(message) is refused


async def test_millions_of_empty_fields_are_refused_unread() -> None:
    async with running(FakeService()) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/ferry.v1.Classifier/Classify")(b"\x0a\x00" * 100_000, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "request: has more than 16,384 fields"
