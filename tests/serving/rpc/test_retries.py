"""Replicas that load, stop and die under a caller: who is asked again, and how often. Through the real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from ferry.transport import LOST_KEY, channel_options, target
from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import LostError, ServiceError, UnavailableError, UpstreamError
from serving.rpc import context as request_context
from serving.rpc.context import RequestContext
from serving.rpc.upstream import Upstream
from serving.server import Server
from serving.settings import ServiceSettings
from serving.telemetry import metrics
from tests.processes import free_port
from tests.serving.fakes import Answer, FakeService, at_once, running

REQUEST = classifier_pb2.ClassifyRequest()
RETRYING = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
"""The service config of a caller who has gRPC retry."""
PATIENT = {"timeout": 30, "patience": 30}


class Replica:
    """A service whose connections can be cut as by the death of its process."""

    def __init__(self, answer: Answer = at_once) -> None:
        self.service = FakeService(answer)
        self.settings = ServiceSettings(grace=0.1)
        self.asked = 0
        self.deadly = False
        self._answer = answer
        self.service.answer = self.answer
        self.server = Server(self.service, self.settings)

    async def answer(self, request: Any, context: Any) -> Any:
        self.asked += 1
        if not self.deadly:
            return await self._answer(request, context)
        # Ends every call and connection without a status of Ferry's, as a death does.
        assert self.server._server is not None
        asyncio.get_running_loop().create_task(self.server._server.stop(None))
        return await asyncio.Event().wait()


@asynccontextmanager
async def replicas(number: int) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        started = [Replica() for _ in range(number)]
        for replica in started:
            await replica.server.start()
            stack.push_async_callback(replica.server.stop)
        yield started


@asynccontextmanager
async def upstream(*ports: int, decodes: bool = True) -> AsyncIterator[Upstream]:
    address = ",".join(f"127.0.0.1:{port}" for port in ports)
    opened = Upstream(address, name="classifier", health_service="ferry.v1.Classifier", caller="test", decodes=decodes)
    try:
        yield opened
    finally:
        await opened.close()


async def ask(where: Upstream, **how: Any) -> Any:
    return await where.call(classifier_pb2_grpc.ClassifierStub(where.channel).Classify, REQUEST, **(PATIENT | how))


def suspects(result: str) -> float:
    return metrics.SUSPECTS.labels("classifier", result)._value.get()


async def test_a_replica_that_loads_is_not_asked() -> None:
    loading = FakeService()
    loaded = asyncio.Event()
    loading.starting = loaded.wait  # type: ignore[assignment]
    server = Server(loading, ServiceSettings(grace=1))
    starting = asyncio.create_task(server.start())
    async with running(FakeService()) as (ready, _), asyncio.timeout(30):
        while not server.port:
            await asyncio.sleep(0.005)
        async with upstream(server.port, ready.port) as where:
            assert [(await ask(where)).queue_ms for _ in range(40)] == [1] * 40
        # A caller's gRPC may retry too, for which the refusal has to be nothing but trailers.
        options = channel_options("test", RETRYING)
        async with grpc.aio.insecure_channel(target(f"127.0.0.1:{server.port},127.0.0.1:{ready.port}"), options) as c:
            stub = classifier_pb2_grpc.ClassifierStub(c)
            while True:
                with suppress(grpc.aio.AioRpcError):  # until both are connected, the one that loads may be all there is
                    await stub.Classify(REQUEST, timeout=10)
                    break
            assert [(await stub.Classify(REQUEST, timeout=10)).queue_ms for _ in range(40)] == [1] * 40
        loaded.set()
        await starting
    await server.stop()


async def test_the_only_replica_is_waited_for_while_it_loads() -> None:
    service = FakeService()
    loaded = asyncio.Event()
    service.starting = loaded.wait  # type: ignore[assignment]
    server = Server(service, ServiceSettings(grace=1))
    starting = asyncio.create_task(server.start())
    async with asyncio.timeout(30):
        while not server.port:
            await asyncio.sleep(0.005)
        async with upstream(server.port) as where:
            with pytest.raises(UnavailableError, match="classifier is not reachable"):
                await ask(where, patience=0)
            waiting = [asyncio.create_task(ask(where)) for _ in range(10)]
            await asyncio.sleep(0)
            loaded.set()
            await starting
            assert [answer.queue_ms for answer in await asyncio.gather(*waiting)] == [1] * 10
    await server.stop()


async def test_a_replica_that_stops_costs_no_call() -> None:
    async with replicas(2) as (first, second), upstream(first.server.port, second.server.port) as where:
        for index in range(40):
            if index == 10:
                await first.server.stop()
            assert (await ask(where)).queue_ms == 1
    assert first.asked + second.asked == 40


async def test_a_server_that_stops_does_not_wait_for_those_who_watch_its_health() -> None:
    replica = Replica()
    replica.server = Server(replica.service, ServiceSettings(grace=60))
    await replica.server.start()
    async with upstream(replica.server.port) as where:
        await ask(where)
        async with asyncio.timeout(20):
            await replica.server.stop()


async def test_what_a_replica_was_lost_with_is_tried_once_more_and_its_fellow_answers() -> None:
    retried, given_up = suspects("retried"), suspects("given_up")
    async with replicas(3) as members, upstream(*(m.server.port for m in members)) as where:
        members[0].deadly = True
        assert [(await ask(where)).queue_ms for _ in range(12)] == [1] * 12
        assert members[0].asked == 1
    assert (suspects("retried"), suspects("given_up")) == (retried + 1, given_up)


async def test_a_deadly_request_is_not_carried_from_replica_to_replica() -> None:
    given_up = suspects("given_up")
    async with replicas(4) as members, upstream(*(m.server.port for m in members)) as where:
        for member in members:
            member.deadly = True
        with pytest.raises(LostError) as caught:
            await ask(where)
        assert sum(member.asked for member in members) == 2
        for member in members:
            member.deadly = False
        assert (await ask(where)).queue_ms == 1
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert suspects("given_up") == given_up + 1


async def test_who_can_do_without_an_answer_asks_nobody_else() -> None:
    retried, left_out = suspects("retried"), suspects("left_out")
    async with replicas(3) as members, upstream(*(m.server.port for m in members)) as where:
        for member in members:
            member.deadly = True
        with pytest.raises(LostError):
            await ask(where, again=False)
        assert sum(member.asked for member in members) == 1
    assert (suspects("retried"), suspects("left_out")) == (retried, left_out + 1)


@asynccontextmanager
async def two_hops(first: int, behind: list[Replica]) -> AsyncIterator[tuple[Upstream, list[FakeService]]]:
    """`first` services that ask what is behind them for every call."""
    async with AsyncExitStack() as stack:
        further = await stack.enter_async_context(upstream(*(member.server.port for member in behind)))
        middle = [FakeService(lambda request, context: ask(further)) for _ in range(first)]
        ports = [(await stack.enter_async_context(running(service)))[0].port for service in middle]
        yield await stack.enter_async_context(upstream(*ports)), middle


async def test_over_two_hops_a_deadly_request_is_tried_once_more_in_all() -> None:
    async with replicas(4) as members, two_hops(3, members) as (where, _):
        for member in members:
            member.deadly = True
        with pytest.raises(UpstreamError) as caught:
            await ask(where)
        assert caught.value.suspect
        assert sum(member.asked for member in members) == 2


async def test_a_request_that_has_cost_a_replica_on_one_hop_is_not_retried_on_the_next() -> None:
    async with replicas(3) as members, two_hops(2, members) as (where, _):
        members[0].deadly = members[1].deadly = members[2].deadly = True
        token = request_context.current.set(RequestContext("order-4711", time.monotonic() + 30))
        context = request_context.current.get()
        assert context is not None
        context.losses.count = 1
        try:
            with pytest.raises(UpstreamError) as caught:
                await ask(where)
        finally:
            request_context.current.reset(token)
        assert caught.value.suspect
        assert sum(member.asked for member in members) == 1


async def test_a_callers_own_retry_counts() -> None:
    seen: list[int] = []

    async def answer(request: Any, context: Any) -> Any:
        current = request_context.current.get()
        assert current is not None
        seen.append(current.losses.count)
        return classifier_pb2.ClassifyResponse()

    async with replicas(1) as (deadly,), running(FakeService(answer)) as (healthy, _):
        deadly.deadly = True
        where = target(f"127.0.0.1:{deadly.server.port},127.0.0.1:{healthy.port}")
        async with grpc.aio.insecure_channel(where, channel_options("test", RETRYING)) as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            async with asyncio.timeout(30):
                while not deadly.asked:  # which connects when it does
                    await stub.Classify(REQUEST, timeout=10)
            for _ in range(3):
                await stub.Classify(REQUEST, timeout=10)
        assert deadly.asked == 1
    assert sorted(seen) == [0] * (len(seen) - 1) + [1]


async def test_a_deterministic_error_is_asked_for_once() -> None:
    asked = 0

    async def answer(request: Any, context: Any) -> Any:
        nonlocal asked
        asked += 1
        raise UnavailableError("no model could judge the faces")

    async with running(FakeService(answer)) as (server, _), upstream(server.port) as where:
        with pytest.raises(ServiceError, match=r"^no model could judge the faces$"):
            await ask(where)
    assert asked == 1


async def test_a_restart_of_the_only_replica_costs_time_and_no_call() -> None:
    port = free_port()
    settings = ServiceSettings(port=port, grace=5)
    async with upstream(port) as where:
        waiting = asyncio.create_task(ask(where))
        for _ in range(3):
            server = Server(FakeService(), settings)
            await server.start()
            assert (await waiting).queue_ms == 1
            await server.stop()
            waiting = asyncio.create_task(ask(where))
        server = Server(FakeService(), settings)
        await server.start()
        assert (await waiting).queue_ms == 1
        await server.stop()


async def test_patience_belongs_to_the_outage_and_has_an_end() -> None:
    async with upstream(free_port()) as where:
        with pytest.raises(UnavailableError, match="classifier is not reachable"):
            await ask(where, patience=0.3)
        started = time.thread_time()
        for _ in range(20):  # by now everybody has waited long enough
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(ask(where, patience=0.3), 5)
        assert time.thread_time() - started < 5


async def test_a_deadline_that_comes_first_is_told_as_what_it_is() -> None:
    async with upstream(free_port()) as where:
        with pytest.raises(UnavailableError, match="classifier is not reachable"):
            await ask(where, timeout=0.3)


async def test_whose_time_went_by_without_a_replica_is_told_so_before_it_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    remaining = []

    async def hang(request: Any, context: Any) -> Any:
        remaining.append(context.time_remaining())
        await asyncio.Event().wait()

    service = FakeService()
    async with running(service) as (server, _), upstream(server.port) as where:
        await ask(where)
        service.answer = hang
        found = where._readiness.wait

        async def late(patience: float, end: float) -> bool:
            await asyncio.sleep(0.6)
            return await found(patience, end)

        monkeypatch.setattr(where._readiness, "wait", late)
        with pytest.raises(UnavailableError, match=r"classifier was not reachable for 0\.[6-9]"):
            await ask(where, timeout=1.0)
    assert max(remaining) < 0.38, "a twentieth of its second is left for the word"


async def test_that_nobody_is_there_is_known_once_somebody_asked() -> None:
    port = free_port()
    async with upstream(port) as where:
        assert not where.away
        waiting = asyncio.create_task(ask(where))
        async with asyncio.timeout(10):
            while not where.away:
                await asyncio.sleep(0.01)
        server = Server(FakeService(), ServiceSettings(port=port, grace=1))
        await server.start()
        await waiting
        async with asyncio.timeout(10):
            while where.away:
                await asyncio.sleep(0.01)
        await server.stop()


async def test_an_answer_that_is_no_message_is_an_error_of_its_service() -> None:
    async with running(FakeService()) as (server, _), upstream(server.port) as where:
        method = where.channel.unary_unary(
            "/ferry.v1.Classifier/Classify",
            request_serializer=classifier_pb2.ClassifyRequest.SerializeToString,
            response_deserializer=lambda data: classifier_pb2.ClassifyResponse.FromString(b"\xff\xff\xff"),
        )
        with pytest.raises(UpstreamError, match="classifier gave an answer that is no message"):
            await where.call(method, REQUEST, **PATIENT)


class Stopping(classifier_pb2_grpc.ClassifierServicer):
    """Ends its first calls as gRPC ends what comes just when a server stops: `CANCELLED`, and no word of Ferry's."""

    def __init__(self, ends: int) -> None:
        self.ends = ends
        self.lost: list[str | None] = []

    async def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.lost.append(dict(context.invocation_metadata()).get(LOST_KEY))
        if self.ends:
            self.ends -= 1
            await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return classifier_pb2.ClassifyResponse(queue_ms=1)


async def test_what_comes_just_when_a_replica_stops_is_asked_of_another_and_is_no_suspect() -> None:
    stopping = Stopping(ends=2)
    server = grpc.aio.server()
    classifier_pb2_grpc.add_ClassifierServicer_to_server(stopping, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    before = suspects("retried")
    try:
        async with upstream(port) as where:
            assert (await ask(where)).queue_ms == 1
            assert stopping.lost == [None] * 3
            stopping.ends = 1
            with pytest.raises(UnavailableError, match="classifier is not ready: it turned the call away"):
                await ask(where, patience=0)
    finally:
        await server.stop(None)
    assert suspects("retried") == before
