"""Calls of a service's own methods from inside its process."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from ferry.v1 import classifier_pb2
from serving.errors import InvalidArgumentError
from serving.rpc.local import LocalCalls, LocalContext
from tests.serving.fakes import FakeService, running

METHOD = "/ferry.v1.Classifier/Classify"


class Asking(LocalContext):
    """Sends one message, or raises."""

    def __init__(self, message: Any, **more: Any) -> None:
        super().__init__(**more)
        self._message_to_send = message

    async def read(self) -> Any:
        message, self._message_to_send = self._message_to_send, grpc.aio.EOF
        if isinstance(message, Exception):
            raise message
        return message


def calls_of(server: Any) -> LocalCalls:
    return LocalCalls(server._interceptor, server.service.register)


async def test_the_answer_is_that_of_the_method() -> None:
    async with running(FakeService()) as (server, _):
        context = Asking(classifier_pb2.ClassifyRequest())
        answer = await calls_of(server).call(METHOD, context)
        assert isinstance(answer, classifier_pb2.ClassifyResponse)
        assert context.failure is None


async def test_errors_become_the_status_with_its_details() -> None:
    async with running(FakeService()) as (server, _):
        context = Asking(InvalidArgumentError("crops", "are missing"))
        assert await calls_of(server).call(METHOD, context) is None
        assert context.failure is not None
        assert (context.failure.code, len(context.failure.details)) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], 1)


async def test_half_a_character_in_an_error_is_no_second_error() -> None:
    async with running(FakeService()) as (server, _):
        context = Asking(InvalidArgumentError("parameters[\ud800]", "is no number: \udfff"))
        assert await calls_of(server).call(METHOD, context) is None
        assert context.failure is not None
        assert context.failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert context.failure.message == "parameters[?]: is no number: ?"


async def test_a_service_that_loads_refuses() -> None:
    async with running(FakeService()) as (server, _):
        server._interceptor.ready = False
        context = Asking(classifier_pb2.ClassifyRequest())
        await calls_of(server).call(METHOD, context)
        assert context.failure is not None
        assert context.failure.code == grpc.StatusCode.UNAVAILABLE.value[0]


async def test_a_call_without_a_message_is_wrong_and_a_method_that_is_not_there_too() -> None:
    async with running(FakeService()) as (server, _):
        calls = calls_of(server)
        context = LocalContext()
        await asyncio.create_task(calls.call(METHOD, context))
        assert context.failure is not None
        assert context.failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        with pytest.raises(KeyError):
            await calls.call("/ferry.v1.Classifier/Nothing", LocalContext())
