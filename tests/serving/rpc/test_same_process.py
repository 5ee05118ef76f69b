"""Services of one process that call each other: what callers see is what they see over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.config_file import host_and_port
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
from serving.rpc.interceptor import CallInterceptor
from serving.rpc.limits import limits_by_kind
from serving.rpc.same_process import LocalServer
from serving.rpc.upstream import Upstream
from serving.settings import ServiceSettings
from serving.telemetry import metrics
from tests.serving.fakes import Endless, FakeService

REQUEST = classifier_pb2.ClassifyRequest(model_name="tiny")


@asynccontextmanager
async def local(service: FakeService, name: str = "judge") -> AsyncIterator[LocalServer]:
    """The service under its name in this process, ready."""
    server = LocalServer(name, CallInterceptor(service.grpc_services, limits_by_kind(ServiceSettings())))
    service.register(server)  # type: ignore[arg-type]
    server.open()
    server.interceptor.ready = True
    try:
        yield server
    finally:
        server.close()


@asynccontextmanager
async def calling(name: str = "judge") -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    upstream = Upstream(f"local:{name}", name="the classifier", health_service="ferry.v1.Classifier", caller="test")
    stub = classifier_pb2_grpc.ClassifierStub(upstream.channel)
    try:
        yield partial(upstream.call, stub.Classify, REQUEST, timeout=10)
    finally:
        await upstream.close()


async def failing(error: Exception) -> ServiceError:
    async def answer(request: Any, context: Any) -> Any:
        raise error

    async with local(FakeService(answer)), calling() as call:
        with pytest.raises(ServiceError) as caught:
            await call()
    return caught.value


async def test_the_messages_themselves_are_handed_over() -> None:
    seen: list[Any] = []
    given = classifier_pb2.ClassifyResponse(queue_ms=3)

    async def answer(request: Any, context: Any) -> Any:
        seen.append(request)
        return given

    async with local(FakeService(answer)), calling() as call:
        assert await call() is given
    assert seen[0] is REQUEST


@pytest.mark.parametrize(
    "error", [InvalidArgumentError("image", "is empty"), NotFoundError("no model"), OverloadedError("full", 2)]
)
async def test_errors_come_with_status_and_details(error: ServiceError) -> None:
    passed = await failing(error)
    assert isinstance(passed, UpstreamError)
    assert passed.to_status() == error.to_status()
    assert passed.code is error.code


async def test_a_defect_does_not_show_what_it_was() -> None:
    passed = await failing(ZeroDivisionError("secret"))
    assert "request id" in passed.message
    assert "secret" not in passed.message


async def test_a_service_that_is_late_is_named() -> None:
    async with local(FakeService(Endless())), calling() as call:
        with pytest.raises(DeadlineError, match="the classifier"):
            await call(timeout=0.3)


async def test_whoever_leaves_ends_the_work() -> None:
    answer = Endless()
    async with local(FakeService(answer)), calling() as call:
        task = asyncio.ensure_future(call())
        await answer.begun.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert answer.ended.is_set()


async def test_request_id_and_deadline_go_along_and_the_callers_own_context_is_back_afterwards() -> None:
    seen: list[request_context.RequestContext | None] = []

    async def answer(request: Any, context: Any) -> Any:
        seen.append(request_context.current.get())
        return classifier_pb2.ClassifyResponse()

    deadline = request_context.deadline_after(5)
    own = request_context.RequestContext("order-4711", deadline)
    token = request_context.current.set(own)
    try:
        async with local(FakeService(answer)), calling() as call:
            await call()
            assert request_context.current.get() is own
    finally:
        request_context.current.reset(token)
    (inner,) = seen
    assert inner is not None
    assert inner.request_id == "order-4711"
    assert 0 < deadline - inner.deadline < 1


async def test_calls_are_measured_as_over_a_socket() -> None:
    counted = metrics.RPC_SECONDS.labels("ferry.v1.Classifier", "Classify", "OK")
    before = counted._sum.get()
    async with local(FakeService()), calling() as call:
        await call()
    assert counted._sum.get() > before


async def test_one_that_loads_is_waited_for_and_one_that_is_not_there_is_not_reachable() -> None:
    async with local(FakeService()) as server, calling() as call:
        server.interceptor.ready = False
        with pytest.raises(UnavailableError, match="the classifier"):
            await call()
        waiting = asyncio.ensure_future(call(patience=10))
        await asyncio.sleep(0)
        server.interceptor.ready = True
        assert (await waiting).queue_ms == 1
    async with calling("nobody") as call:
        with pytest.raises(UnavailableError, match="the classifier is not reachable"):
            await call()


async def test_a_name_is_taken_once() -> None:
    async with local(FakeService()):
        with pytest.raises(ValueError, match="two services named 'judge'"):
            async with local(FakeService()):
                pass


def test_addresses_in_this_process_are_addresses() -> None:
    assert host_and_port("local:classifier-1") == "local:classifier-1"
    with pytest.raises(ValueError, match="host:port"):
        host_and_port("local:../secret")
