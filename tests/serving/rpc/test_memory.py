"""What calls leave in memory: nothing, and where some library does, a bounded part."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import grpc
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving import memory
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


async def test_what_is_left_in_circles_goes_when_much_has_been_received(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few containers were made, which is what Python's collector counts."""
    monkeypatch.setattr(memory, "COLLECT_AFTER_BYTES", 100_000)
    monkeypatch.setattr(memory, "_received", 0)
    async with running(FakeService()) as (_, channel):
        gc.disable()
        try:
            held: list[Any] = [set()]
            lies_there = weakref.ref(held[0])
            held.append(held)
            del held
            for _ in range(2):
                assert lies_there() is not None
                await classify(channel, "x" * 60_000)
            assert lies_there() is None
        finally:
            gc.enable()
