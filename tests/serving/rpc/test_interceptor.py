"""What a caller meets around every call: ids, deadlines, cancellation, errors with details, and no leaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ferry.v1 import classifier_pb2, classifier_pb2_grpc, gateway_pb2, gateway_pb2_grpc
from serving.errors import (
    DeadlineError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    ServiceError,
    UnavailableError,
    UpstreamError,
)
from serving.rpc import context as request_context
from serving.server import Server
from serving.settings import ServiceSettings
from serving.telemetry import metrics, tracing
from tests.serving.fakes import Endless, FakeService, running

Status = grpc.StatusCode


def counted(status: str, method: str = "Classify", service: str = "ferry.v1.Classifier") -> float:
    for metric in metrics.RPC_SECONDS.collect():
        for sample in metric.samples:
            labels = {"rpc_service": service, "rpc_method": method, "grpc_status": status}
            if sample.name.endswith("_count") and sample.labels == labels:
                return sample.value
    return 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def classify(channel: grpc.aio.Channel, timeout: float | None = 10, **call: Any) -> Any:
    stub = classifier_pb2_grpc.ClassifierStub(channel)
    return await stub.Classify(classifier_pb2.ClassifyRequest(), timeout=timeout, **call)


async def failing(error: BaseException) -> grpc.aio.AioRpcError:
    async def answer(request: Any, context: Any) -> Any:
        raise error

    async with running(FakeService(answer)) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await classify(channel, metadata=(("x-request-id", "the-callers-own-id"),))
        return caught.value


def trailer(error: grpc.aio.AioRpcError, key: str) -> Any:
    return dict(error.trailing_metadata() or ()).get(key)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgumentError("crops", "are upside down"), Status.INVALID_ARGUMENT),
        (NotFoundError("no such model"), Status.NOT_FOUND),
        (OverloadedError("full", 1.5), Status.RESOURCE_EXHAUSTED),
        (DeadlineError("too late"), Status.DEADLINE_EXCEEDED),
        (UnavailableError("nobody there"), Status.UNAVAILABLE),
        (UpstreamError(Status.FAILED_PRECONDITION, "not yet"), Status.FAILED_PRECONDITION),
        (ServiceError("cannot"), Status.INTERNAL),
    ],
)
async def test_errors_keep_their_status_and_message(error: ServiceError, code: grpc.StatusCode) -> None:
    before = counted(code.name)
    caught = await failing(error)
    assert caught.code() is code
    assert caught.details() == error.message
    status = rpc_status.from_call(caught)  # type: ignore[arg-type]
    assert status is not None
    assert (status.code, status.message) == (code.value[0], error.message)
    assert trailer(caught, "x-request-id") == "the-callers-own-id"
    assert counted(code.name) == before + 1


async def test_a_wrong_field_is_named_in_a_bad_request() -> None:
    status = rpc_status.from_call(await failing(InvalidArgumentError("options.max_faces", "is odd")))  # type: ignore[arg-type]
    assert status is not None
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    assert [(v.field, v.description) for v in detail.field_violations] == [("options.max_faces", "is odd")]


async def test_overload_says_when_to_retry() -> None:
    status = rpc_status.from_call(await failing(OverloadedError("full", 1.5)))  # type: ignore[arg-type]
    assert status is not None
    detail = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(detail)
    assert detail.retry_delay.ToMilliseconds() == 1500


async def test_an_upstreams_details_are_passed_on() -> None:
    inner = InvalidArgumentError("image", "is empty").to_status()
    error = UpstreamError(Status.INVALID_ARGUMENT, "image: is empty", inner.SerializeToString())
    assert rpc_status.from_call(await failing(error)) == inner  # type: ignore[arg-type]


async def test_garbage_in_place_of_an_upstreams_details_is_dropped() -> None:
    caught = await failing(UpstreamError(Status.INVALID_ARGUMENT, "image: is empty", b"\xff\xff\xff"))
    assert caught.code() is Status.INVALID_ARGUMENT
    assert caught.details() == "image: is empty"


@pytest.mark.parametrize("error", [NotFoundError("é" * 100_000), InvalidArgumentError("x", "y" * 100_000)])
async def test_a_long_message_is_cut_and_arrives(error: ServiceError) -> None:
    caught = await failing(error)
    assert caught.code() is error.code
    assert len(caught.details() or "") <= 500


async def test_an_unexpected_exception_becomes_internal_and_its_text_stays_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        caught = await failing(RuntimeError("the password is swordfish"))
    assert caught.code() is Status.INTERNAL
    assert "the-callers-own-id" in (caught.details() or "")
    assert "swordfish" not in repr(caught.details()) + repr(caught.trailing_metadata())
    assert "swordfish" in caplog.text


async def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    async with running(FakeService()) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/ferry.v1.Classifier/Classify")(b"\xff\xff\xff\xff", timeout=10)
    assert caught.value.code() is Status.INVALID_ARGUMENT
    assert caught.value.details() == "request: is not a message of this method"


async def test_a_service_goes_on_after_an_unexpected_exception() -> None:
    service = FakeService()

    async def broken(request: Any, context: Any) -> Any:
        raise KeyError("x")

    async with running(service) as (_, channel):
        good, service.answer = service.answer, broken
        with pytest.raises(grpc.aio.AioRpcError):
            await classify(channel)
        service.answer = good
        assert (await classify(channel)).queue_ms == 1


async def test_a_process_without_memory_says_when_to_come_back() -> None:
    async def greedy(request: Any, context: Any) -> Any:
        raise MemoryError

    async with running(FakeService(greedy)) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await classify(channel)
    assert caught.value.code() is Status.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


@pytest.mark.parametrize("method", ["SubmitJob", "GetStatus"])
async def test_a_method_of_the_contract_that_is_not_offered_is_unimplemented(method: str) -> None:
    async with running(FakeService()) as (_, channel):
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(stub, method)(getattr(gateway_pb2, f"{method}Request")(), timeout=10)
    assert caught.value.code() is Status.UNIMPLEMENTED
    assert method in (caught.value.details() or "")


async def test_a_stream_that_is_not_offered_is_unimplemented() -> None:
    async with running(FakeService()) as (_, channel):
        call = gateway_pb2_grpc.ExpressionRecognitionStub(channel).RecognizeStream(iter(()), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is Status.UNIMPLEMENTED


async def seen_context(*, timeout: float | None = 10, settings: dict[str, Any] | None = None, **call: Any) -> Any:
    seen: list[Any] = []

    async def answer(request: Any, context: Any) -> Any:
        current = request_context.current.get()
        assert current is not None
        seen.append((current.request_id, current.remaining()))
        return classifier_pb2.ClassifyResponse()

    async with running(FakeService(answer), **(settings or {})) as (_, channel):
        await classify(channel, timeout, **call)
    return seen[0]


async def test_the_callers_request_id_is_kept() -> None:
    assert (await seen_context(metadata=(("x-request-id", "order-4711.a"),)))[0] == "order-4711.a"


@pytest.mark.parametrize("value", ["short", "x" * 65, "with space", "<script>alert(1)</script>"])
async def test_an_odd_request_id_is_replaced(value: str) -> None:
    found = (await seen_context(metadata=(("x-request-id", value),)))[0]
    assert len(found) == 32
    assert int(found, 16) >= 0


async def test_every_call_without_an_id_gets_its_own() -> None:
    assert (await seen_context())[0] != (await seen_context())[0]


async def test_a_call_without_a_deadline_gets_the_default() -> None:
    assert 0 < (await seen_context(timeout=None, settings={"default_timeout": 7}))[1] <= 7


async def test_no_call_may_exceed_the_longest_time() -> None:
    assert 0 < (await seen_context(timeout=1000, settings={"max_timeout": 9}))[1] <= 9


async def test_a_call_that_takes_too_long_is_ended_and_told_so() -> None:
    answer, before = Endless(), counted("DEADLINE_EXCEEDED")
    async with running(FakeService(answer), default_timeout=0.5) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await classify(channel, timeout=None)
        await asyncio.wait_for(answer.ended.wait(), 10)
    assert caught.value.code() is Status.DEADLINE_EXCEEDED
    assert "0.500 s" in (caught.value.details() or "")
    assert counted("DEADLINE_EXCEEDED") == before + 1


async def test_a_cancelled_call_stops_its_work() -> None:
    answer, before = Endless(), counted("CANCELLED")
    async with running(FakeService(answer)) as (_, channel):
        task = asyncio.create_task(classify(channel))
        await asyncio.wait_for(answer.begun.wait(), 10)
        task.cancel()
        await asyncio.wait_for(answer.ended.wait(), 10)
        await until(lambda: counted("CANCELLED") == before + 1)


def batch(size: int) -> gateway_pb2.RecognizeBatchRequest:
    return gateway_pb2.RecognizeBatchRequest(requests=[gateway_pb2.RecognizeRequest() for _ in range(size)])


async def test_a_stream_of_answers_arrives_and_is_counted_once() -> None:
    before = counted("OK", "RecognizeBatch", "ferry.v1.ExpressionRecognition")
    async with running(FakeService()) as (_, channel):
        call = gateway_pb2_grpc.ExpressionRecognitionStub(channel).RecognizeBatch(batch(3), timeout=10)
        assert [answer.index async for answer in call] == [0, 1, 2]
    assert counted("OK", "RecognizeBatch", "ferry.v1.ExpressionRecognition") == before + 1


async def test_an_error_in_the_middle_of_a_stream_comes_after_what_was_sent() -> None:
    service = FakeService()

    async def each(index: int) -> None:
        if index == 2:
            raise OverloadedError("full", 1)

    service.each = each
    received: list[int] = []
    async with running(service) as (_, channel):
        call = gateway_pb2_grpc.ExpressionRecognitionStub(channel).RecognizeBatch(batch(3), timeout=10)
        received += [(await call.read()).index, (await call.read()).index]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert received == [0, 1]
    assert caught.value.code() is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("when", ["while computing", "while sending"])
async def test_a_cancelled_stream_stops_its_work_and_is_counted(when: str, caplog: pytest.LogCaptureFixture) -> None:
    service = FakeService()
    reached, ended = asyncio.Event(), asyncio.Event()

    async def each(index: int) -> None:
        if index and when == "while computing":
            reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    service.each = each
    method = ("RecognizeBatch", "ferry.v1.ExpressionRecognition")
    before = counted("CANCELLED", *method) + counted("OK", *method)
    async with running(service) as (_, channel):
        call = gateway_pb2_grpc.ExpressionRecognitionStub(channel).RecognizeBatch(batch(4_000), timeout=60)
        await call.read()
        if when == "while computing":
            await asyncio.wait_for(reached.wait(), 10)
        call.cancel()
        if when == "while computing":
            await asyncio.wait_for(ended.wait(), 10)
        await until(lambda: counted("CANCELLED", *method) + counted("OK", *method) == before + 1)
    assert "different Context" not in caplog.text


@pytest.fixture
def spans() -> Any:
    exporter = InMemorySpanExporter()
    tracing.configure("test", None, 1.0, SimpleSpanProcessor(exporter))
    yield exporter
    tracing.shutdown()


async def test_a_call_is_a_span_of_its_callers_trace(spans: InMemorySpanExporter) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await seen_context(metadata=(("traceparent", caller), ("x-request-id", "order-4711")))
    (span,) = spans.get_finished_spans()
    assert span.name == "ferry.v1.Classifier/Classify"
    assert trace.format_trace_id(span.context.trace_id) in caller
    assert span.parent is not None
    assert trace.format_span_id(span.parent.span_id) in caller
    assert (span.attributes or {})["ferry.request_id"] == "order-4711"
    assert (span.attributes or {})["rpc.grpc.status_code"] == 0


@pytest.mark.parametrize("error", [InvalidArgumentError("image", "is empty"), RuntimeError("boom")])
async def test_a_failed_call_is_a_failed_span(spans: InMemorySpanExporter, error: Exception) -> None:
    caught = await failing(error)
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == caught.code().name
    assert str(error) not in span.to_json()


async def test_calls_before_ready_are_unavailable() -> None:
    service = FakeService()
    released = asyncio.Event()
    service.starting = released.wait  # type: ignore[assignment]
    server = Server(service, ServiceSettings())
    starting = asyncio.create_task(server.start())
    await until(lambda: server.port != 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await classify(channel)
        assert caught.value.code() is Status.UNAVAILABLE
        assert "still loading" in (caught.value.details() or "")
        released.set()
        await starting
        assert (await classify(channel)).queue_ms == 1
    await server.stop()
