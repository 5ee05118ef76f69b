"""Callers that take in nothing of their answers, and those that hold long calls: they shut nobody out, and what they
leave in memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from h2.exceptions import ProtocolError

from serving.rpc.connections import Connections
from serving.rpc.open_calls import OpenCalls
from serving.telemetry import metrics
from tests.serving.fakes import Endless, FakeService, at_once, running
from tests.serving.peer import Peer, connected, framed
from tests.serving.rpc.test_receiving import CHECK, CLASSIFY, WATCH, answered, classify

MANY = "/ferry.v1.ExpressionRecognition/RecognizeBatch"
EXHAUSTED = 8


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rpc.open_calls.UNREAD_SECONDS", 0.0)


@asynccontextmanager
async def starving(port: int, path: str, calls: int, message: bytes = b"") -> AsyncIterator[Peer]:
    """A peer that calls and reads nothing of the answers."""
    async with connected(port) as peer:
        await peer.starve()
        for _ in range(calls):
            await peer.send(await peer.call(path), framed(message), end=True)
        yield peer


def serving() -> int:
    """Calls that the server has not done with."""
    return sum("_handle_rpc" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def at_most(calls: int) -> None:
    async with asyncio.timeout(20):
        while serving() > calls:
            await asyncio.sleep(0.01)


async def once_answered(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(20):
        while not await answered(channel):
            await asyncio.sleep(0.01)


# The two requests of a batch: the second answer would wait for the first to be read.
@pytest.mark.parametrize(("path", "message"), [(CLASSIFY, b""), (MANY, b"\x0a\x00\x0a\x00")])
async def test_answers_that_nobody_reads_shut_nobody_out_and_are_not_kept(path: str, message: bytes) -> None:
    cut_off = metrics.REJECTED.labels("unread")
    before = cut_off._value.get()
    async with running(FakeService(at_once), max_calls=8) as (server, channel), AsyncExitStack() as stack:
        peers = []
        for _ in range(10):
            peers.append(await stack.enter_async_context(starving(server.port, path, 8, message)))
            await once_answered(channel)
            # No more than are open, left unread, and end with their connection.
            await at_most(8 + 2 + 8)
        assert cut_off._value.get() > before
        for peer in peers[:-3]:
            await peer.until_closed()
        # A healthy connection stays.
        assert await classify(channel, timeout=20)


async def test_a_call_is_asked_who_makes_it_as_it_begins_and_never_later() -> None:
    """Of a call that gRPC is done with it reads memory that is free, and the process dies."""
    cut_off: list[str] = []
    calls = OpenCalls(1, lambda peer: cut_off.append(peer) is None)

    async def unread(name: str) -> None:
        calls.enter(asyncio.current_task())
        calls.begin(Mock(peer=Mock(side_effect=[name])))  # asked once more it raises
        calls.sending()
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(unread(name)) for name in ("first", "second", "third")]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    assert cut_off == ["first"]
    assert list(calls.peers) == ["third", "second"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_reader_still_gets_its_answer() -> None:
    async with running(FakeService(at_once), max_calls=16) as (server, channel), connected(server.port) as peer:
        await peer.starve()
        stream = await peer.call(CLASSIFY)
        await peer.send(stream, framed(b""), end=True)
        async with starving(server.port, CLASSIFY, 20):
            for _ in range(10):
                await once_answered(channel)
            await peer.feed()
            assert await peer.status(stream) == (0, "")


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_health_answers_beside_those_who_do_not_read_it(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr("serving.rpc.lanes._MAX_CHECKS", 4)
    async with running(FakeService(at_once), max_calls=4) as (server, channel), AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(starving(server.port, path, 6))
            for _ in range(3):
                await health(channel, path)


async def health(channel: grpc.aio.Channel, path: str) -> None:
    async with asyncio.timeout(20):
        while not await healthy(channel, path):
            await asyncio.sleep(0.01)


async def healthy(channel: grpc.aio.Channel, path: str) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    call: Any = (stub.Check if path == CHECK else stub.Watch)(health_pb2.HealthCheckRequest(), timeout=20)
    try:
        said = await call if path == CHECK else await call.read()
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    call.cancel()
    return bool(said.status == health_pb2.HealthCheckResponse.SERVING)


async def test_a_watch_that_nobody_reads_holds_up_no_other_one() -> None:
    service = FakeService()
    async with running(service, grace=0.1) as (server, channel), starving(server.port, WATCH, 1):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        said = health_pb2.HealthCheckResponse
        assert (await watch.read()).status == said.SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == said.NOT_SERVING
        watch.cancel()
        async with asyncio.timeout(20):
            await stopping
    assert service.stopped


async def test_watches_of_one_connection_give_way_to_those_of_others() -> None:
    async with running(FakeService(), max_calls=4) as (server, channel), connected(server.port) as peer:
        watches = []
        for _ in range(4):
            # One after the other: gRPC keeps to no order in which it hands on the calls of a connection.
            watches.append(await peer.call(WATCH))
            await peer.send(watches[-1], framed(b""))
            await peer.answered(watches[-1])
        await health(channel, WATCH)
        status, said = await peer.status(watches[0])
        assert (status, said) == (EXHAUSTED, "others have fewer calls of this kind, and wait; call again in a while")


async def test_one_connection_is_ended_and_no_other() -> None:
    async with running(FakeService(at_once)) as (server, channel), connected(server.port) as peer:
        assert await classify(channel, timeout=20)
        host, port = peer.name
        own, others = (Connections(1000, lambda shift=shift: server.port + shift) for shift in (0, 1))
        assert not others.hang_up(f"ipv4:{host}:{port}")
        assert not any(map(own.hang_up, (f"ipv4:{host}:1", "unix:", "ipv4:nobody:1", "")))
        assert own.hang_up(f"ipv6:%5B::ffff:{host}%5D:{port}")
        await peer.until_closed()
        assert await classify(channel, timeout=20)


@pytest.mark.parametrize("path", [CLASSIFY, WATCH])
async def test_connections_without_a_call_give_way_to_new_ones(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr("serving.rpc.connections.IDLE_SECONDS", 0.05)
    monkeypatch.setattr("serving.server.IDLE_SECONDS", 0.05)
    async with running(FakeService(Endless()), max_connections=10) as (server, _), AsyncExitStack() as stack:
        busy = await stack.enter_async_context(connected(server.port))
        await busy.send(await busy.call(path), framed(b""), end=True)
        idle = [await stack.enter_async_context(connected(server.port)) for _ in range(9)]
        ends = [asyncio.create_task(peer.until_closed()) for peer in idle]
        while sum(task.done() for task in ends) < 4:
            await asyncio.sleep(0.01)
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        late = await let_in(stack, server.port)
        for peer in (late, busy):
            await peer.send(stream := await peer.call(CHECK), framed(b""), end=True)
            assert await peer.status(stream) == (0, "")


async def let_in(stack: AsyncExitStack, port: int) -> Peer:
    """On a busy machine a connection may be idle for too long before it is heard."""
    async with asyncio.timeout(20):
        while True:
            with suppress(ProtocolError, ConnectionError):
                return await stack.enter_async_context(connected(port))
