"""What calls leave in memory: nothing."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import ServiceError
from tests.circles import no_circles
from tests.serving.fakes import FakeService, running


async def classify(channel: grpc.aio.Channel, model: str = "") -> None:
    request = classifier_pb2.ClassifyRequest(model_name=model)
    await classifier_pb2_grpc.ClassifierStub(channel).Classify(request, timeout=10)


async def test_a_refused_request_does_not_stay_in_memory() -> None:
    """Without the garbage collector: an error must not be part of a cycle that holds the request."""

    class MarkedError(ServiceError):
        pass

    async def answer(request: Any, context: Any) -> Any:
        raise MarkedError("no")

    async with running(FakeService(answer)) as (_, channel):
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                with pytest.raises(grpc.aio.AioRpcError):
                    await classify(channel)
            async with asyncio.timeout(10):
                while any(isinstance(thing, MarkedError) for thing in gc.get_objects()):
                    await asyncio.sleep(0.05)
        finally:
            gc.enable()


async def test_bytes_that_are_no_message_are_let_go_of_at_once() -> None:
    async with running(FakeService()) as (_, channel):
        with no_circles(ServiceError):
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary("/ferry.v1.Classifier/Classify")(b"\xff" * 1000, timeout=10)
            await asyncio.sleep(0.05)
