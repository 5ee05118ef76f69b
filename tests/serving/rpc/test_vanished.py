"""Replicas that fall silent or are not yet seen to be dead: what is held against a request, and who is asked next."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import LostError
from serving.rpc import context as request_context
from serving.rpc.context import RequestContext
from tests.serving.fakes import FakeService, running
from tests.serving.relay import relay
from tests.serving.rpc.test_retries import ask, replicas, suspects, upstream


async def test_a_request_whose_first_replica_was_lost_outlasts_one_that_vanishes_with_its_node() -> None:
    dark = asyncio.Event()
    async with (
        replicas(2) as (first, second),
        relay(first.server.port, dark) as port,
        upstream(port, second.server.port) as where,
    ):
        while not first.asked:
            await ask(where)
        dark.set()
        token = request_context.current.set(RequestContext("order-4712", time.monotonic() + 60))
        context = request_context.current.get()
        assert context is not None
        context.losses.count = 1
        try:
            assert [(await ask(where)).queue_ms for _ in range(4)] == [1] * 4
        finally:
            request_context.current.reset(token)
        assert context.losses.count == 1


async def test_a_request_that_a_replica_fell_silent_with_is_no_suspect(caplog: pytest.LogCaptureFixture) -> None:
    """With a node several replicas fall silent, whatever they work on; who waits a second has no time for a process
    of its own."""
    dark = asyncio.Event()
    suspected: list[bool] = []

    async def answer(request: Any, context: Any) -> Any:
        suspected.append(request_context.is_suspect())
        return classifier_pb2.ClassifyResponse(queue_ms=1)

    async with (
        replicas(1) as (first,),
        running(FakeService(answer)) as (second, _),
        relay(first.server.port, dark) as port,
        upstream(port, second.port) as where,
    ):
        while not first.asked:
            await ask(where)
        dark.set()
        suspected.clear()
        before = suspects("retried")
        answers = await asyncio.gather(*(ask(where) for _ in range(4)))
    assert [answer.queue_ms for answer in answers] == [1] * 4
    assert "another is asked: " in caplog.text
    assert not any(suspected)
    assert suspects("retried") == before


async def test_a_replica_that_looks_into_no_pictures_is_lost_by_none_of_them() -> None:
    retried, given_up = suspects("retried"), suspects("given_up")
    async with replicas(4) as members, upstream(*(m.server.port for m in members), decodes=False) as where:
        members[0].deadly = True
        assert [(await ask(where)).queue_ms for _ in range(12)] == [1] * 12
        assert members[0].asked == 1
    assert (suspects("retried"), suspects("given_up")) == (retried, given_up)

    async with replicas(4) as members, upstream(*(m.server.port for m in members), decodes=False) as where:
        for member in members:
            member.deadly = True
        with pytest.raises(LostError):
            await ask(where)
        assert sum(member.asked for member in members) == 2
    assert (suspects("retried"), suspects("given_up")) == (retried, given_up + 1)


class HalfDead(classifier_pb2_grpc.ClassifierServicer):
    """Loses every call of the first connection that it is asked over, as one that gRPC has not seen closed yet."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    async def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.peers.append(context.peer())
        if context.peer() == self.peers[0]:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Stream removed")
        return classifier_pb2.ClassifyResponse(queue_ms=1)


async def test_a_second_replica_is_not_asked_over_the_connection_of_the_first() -> None:
    half_dead = HalfDead()
    server = grpc.aio.server()
    classifier_pb2_grpc.add_ClassifierServicer_to_server(half_dead, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with upstream(port) as where:
            assert (await ask(where)).queue_ms == 1
    finally:
        await server.stop(None)
    assert len(half_dead.peers) == 2
