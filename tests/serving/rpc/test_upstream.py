"""What a service makes of what the one behind it says, or fails to say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ferry.transport import STATUS_DETAILS_KEY
from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import (
    DeadlineError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    ServiceError,
    UnavailableError,
    UpstreamError,
)
from serving.rpc import context as request_context
from serving.rpc.context import RequestContext
from serving.rpc.upstream import Upstream
from serving.telemetry import tracing
from tests.processes import free_port
from tests.serving.fakes import Endless, FakeService, running

REQUEST = classifier_pb2.ClassifyRequest()


@asynccontextmanager
async def calling(*ports: int) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """A function that asks the replicas at `ports`."""
    address = ",".join(f"127.0.0.1:{port}" for port in ports)
    upstream = Upstream(address, name="the classifier", health_service="ferry.v1.Classifier", caller="test")
    stub = classifier_pb2_grpc.ClassifierStub(upstream.channel)
    try:
        yield partial(upstream.call, stub.Classify, REQUEST)
    finally:
        await upstream.close()


async def ask(port: int, timeout: float = 10, patience: float = 0) -> Any:
    async with calling(port) as call:
        return await call(timeout=timeout, patience=patience)


async def failing(error: Exception) -> ServiceError:
    async def answer(request: Any, context: Any) -> Any:
        raise error

    async with running(FakeService(answer)) as (server, _):
        with pytest.raises(ServiceError) as caught:
            await ask(server.port)
    return caught.value


async def test_an_answer_comes_back() -> None:
    async with running(FakeService()) as (server, _):
        assert (await ask(server.port)).queue_ms == 1


@pytest.mark.parametrize(
    "error", [InvalidArgumentError("image", "is empty"), NotFoundError("no model"), OverloadedError("full", 2)]
)
async def test_errors_pass_through_with_status_and_details(error: ServiceError) -> None:
    passed = await failing(error)
    assert isinstance(passed, UpstreamError)
    assert passed.to_status() == error.to_status()
    assert passed.code is error.code


async def test_what_a_service_says_of_one_behind_it_is_passed_on_as_it_is() -> None:
    passed = await failing(UnavailableError("detector is not reachable"))
    assert passed.code is grpc.StatusCode.UNAVAILABLE
    assert passed.message == "detector is not reachable"


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="the classifier is not reachable"):
        await ask(free_port())


async def test_no_answer_in_time_is_a_deadline_error_that_names_the_service() -> None:
    async with running(FakeService(Endless())) as (server, _):
        with pytest.raises(DeadlineError, match="the classifier"):
            await ask(server.port, timeout=0.5)


async def test_a_service_further_on_that_is_late_is_the_one_that_is_named() -> None:
    passed = await failing(DeadlineError("detector did not answer within 2.000 s"))
    assert isinstance(passed, DeadlineError)
    assert passed.message == "the classifier: detector did not answer within 2.000 s"


@pytest.mark.parametrize(("refused_after", "error"), [(0.6, UnavailableError), (0.0, DeadlineError)])
async def test_what_most_of_the_time_went_by_with_is_what_is_said(refused_after: float, error: type[Exception]) -> None:
    status = RefusedError("no detector takes calls").to_status().SerializeToString()
    sent = 0

    async def first_refuses_then_is_late(request: Any, **_: Any) -> Any:
        nonlocal sent
        sent += 1
        await asyncio.sleep(refused_after if sent == 1 else 0.6 - refused_after)
        code = grpc.StatusCode.UNAVAILABLE if sent == 1 else grpc.StatusCode.DEADLINE_EXCEEDED
        trailers = grpc.aio.Metadata((STATUS_DETAILS_KEY, status)) if sent == 1 else grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers)

    async with running(FakeService()) as (server, _):
        upstream = Upstream(f"127.0.0.1:{server.port}", name="it", health_service="ferry.v1.Classifier", caller="test")
        with pytest.raises(ServiceError) as caught:
            await upstream.call(cast(Any, first_refuses_then_is_late), REQUEST, timeout=30, patience=5)
        await upstream.close()
    assert type(caught.value) is error
    assert sent == 2


async def test_a_call_that_is_refused_at_its_end_says_so_while_its_caller_waits() -> None:
    status = RefusedError("no detector takes calls").to_status().SerializeToString()
    sent = 0

    async def refuses(request: Any, *, timeout: float, **_: Any) -> Any:
        nonlocal sent
        sent += 1
        await asyncio.sleep(0.95 * timeout)
        trailers = grpc.aio.Metadata((STATUS_DETAILS_KEY, status))
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailers)

    async with running(FakeService()) as (server, _):
        upstream = Upstream(f"127.0.0.1:{server.port}", name="it", health_service="ferry.v1.Classifier", caller="test")
        with pytest.raises(UnavailableError, match="is not ready"):
            await upstream.call(cast(Any, refuses), REQUEST, timeout=2, patience=5)
        await upstream.close()
    assert sent == 1


async def test_the_requests_own_deadline_counts_when_it_is_earlier() -> None:
    async with running(FakeService(Endless())) as (server, _):
        token = request_context.current.set(RequestContext("order-4711", time.monotonic() + 0.5))
        try:
            with pytest.raises(DeadlineError):
                await asyncio.wait_for(ask(server.port, timeout=3600), 30)
        finally:
            request_context.current.reset(token)


async def test_a_request_without_time_left_is_not_sent() -> None:
    token = request_context.current.set(RequestContext("order-4711", time.monotonic()))
    try:
        with pytest.raises(DeadlineError, match="no time left"):
            await ask(free_port())
    finally:
        request_context.current.reset(token)


async def test_request_id_and_deadline_travel_along() -> None:
    seen: list[Any] = []

    async def answer(request: Any, context: Any) -> Any:
        current = request_context.current.get()
        assert current is not None
        seen.append((current.request_id, current.remaining()))
        return classifier_pb2.ClassifyResponse()

    async with running(FakeService(answer)) as (server, _):
        token = request_context.current.set(RequestContext("order-4711", time.monotonic() + 7))
        try:
            await ask(server.port, timeout=3600)
        finally:
            request_context.current.reset(token)
    assert seen[0][0] == "order-4711"
    assert 0 < seen[0][1] < 7


async def test_a_cancelled_caller_cancels_the_call_behind_it() -> None:
    answer = Endless()
    async with running(FakeService(answer)) as (server, _):
        task = asyncio.create_task(ask(server.port))
        await asyncio.wait_for(answer.begun.wait(), 10)
        task.cancel()
        await asyncio.wait_for(answer.ended.wait(), 10)


@pytest.fixture
def spans() -> Any:
    exporter = InMemorySpanExporter()
    tracing.configure("test", None, 1.0, SimpleSpanProcessor(exporter))
    yield exporter
    tracing.shutdown()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgumentError("image", "not secret.jpg"), "INVALID_ARGUMENT"),
        (RuntimeError("secret.jpg"), "INTERNAL"),
    ],
)
async def test_a_failed_call_is_a_failed_span_without_its_message(
    spans: InMemorySpanExporter, error: Exception, code: str
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        raise error

    async with running(FakeService(answer)) as (server, _):
        with pytest.raises(ServiceError):
            await ask(server.port)
    (mine,) = [span for span in spans.get_finished_spans() if span.kind is trace.SpanKind.CLIENT]
    assert (mine.status.status_code, mine.status.description) == (trace.StatusCode.ERROR, code)
    assert "secret.jpg" not in mine.to_json()


async def test_a_cancelled_call_ends_its_span(spans: InMemorySpanExporter) -> None:
    answer = Endless()
    async with running(FakeService(answer)) as (server, _):
        task = asyncio.create_task(ask(server.port))
        await asyncio.wait_for(answer.begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    ended = {span.kind: span.status.description for span in spans.get_finished_spans()}
    assert ended == {trace.SpanKind.CLIENT: "CANCELLED", trace.SpanKind.SERVER: "CANCELLED"}


def test_unused_grpc_status_names_are_those_of_google_rpc() -> None:
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            assert UpstreamError(code, "x").to_status().code == code.value[0]
