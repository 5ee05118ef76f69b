"""What a peer meets that does not send what it announced: how long a message may take, how many may be on their way,
and how little is taken in of what nobody reads."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.errors import ServiceError, UnauthenticatedError
from serving.rpc.local import LocalContext
from serving.rpc.receiving import Receiving
from serving.telemetry import metrics
from tests.circles import no_circles
from tests.serving.fakes import FakeService, at_once, running
from tests.serving.peer import Peer, connected, framed

CLASSIFY = "/ferry.v1.Classifier/Classify"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WINDOW = 65_535
INVALID, DEADLINE, EXHAUSTED, UNAUTHENTICATED = 3, 4, 8, 16
MIB = 1 << 20


class SmallService(FakeService):
    """Takes messages of up to 1 MiB."""

    max_request_bytes = MIB


async def classify(channel: grpc.aio.Channel, **call: Any) -> Any:
    return await classifier_pb2_grpc.ClassifierStub(channel).Classify(classifier_pb2.ClassifyRequest(), **call)


@pytest.mark.parametrize("path", [CLASSIFY, CHECK])
@pytest.mark.parametrize("body", [b"", framed(b"x" * 10, 1000), b"\0\0"], ids=["none", "half", "half a prefix"])
async def test_a_call_that_ends_before_its_message_is_told_so_at_once(path: str, body: bytes) -> None:
    async with running(FakeService()) as (server, _), connected(server.port) as peer:
        stream = await peer.call(path, end=not body)
        await peer.send(stream, body, end=True)
        assert await peer.status(stream) == (
            INVALID,
            "request: is missing: the call ended before a whole message had come",
        )


@pytest.mark.parametrize("path", [CLASSIFY, CHECK, WATCH, REFLECT])
@pytest.mark.parametrize("body", [b"", framed(b"x" * 10, 1000)], ids=["nothing", "half"])
async def test_a_message_that_does_not_arrive_ends_the_call(path: str, body: bytes) -> None:
    async with running(FakeService(), receive_timeout=0.05) as (server, _), connected(server.port) as peer:
        stream = await peer.call(path)
        await peer.send(stream, body)
        assert await peer.status(stream) == (DEADLINE, "no complete message within 0.05 s")


async def test_a_message_that_says_it_is_too_large_is_refused_by_its_first_bytes() -> None:
    async with running(SmallService()) as (server, _), connected(server.port) as peer:
        stream = await peer.call(CLASSIFY)
        await peer.send(stream, framed(b"", MIB + 1))
        status, message = await peer.status(stream)
        assert (status, "larger than max" in message) == (EXHAUSTED, True)


async def test_a_small_message_that_inflates_is_no_larger_than_others_may_be() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = deflate.compress(bytes(64 * MIB)) + deflate.flush()
    async with running(SmallService()) as (server, _), connected(server.port) as peer:
        stream = await peer.call(CLASSIFY, ("grpc-encoding", "gzip"))
        await peer.send(stream, framed(bomb, compressed=True), end=True)
        status, message = await peer.status(stream)
        assert (status, "larger than max" in message) == (EXHAUSTED, True)


@pytest.mark.parametrize("path", [CLASSIFY, CHECK])
async def test_more_metadata_than_may_be_is_refused_of_a_peer_that_grpc_does_not_bound_yet(path: str) -> None:
    """gRPC keeps to its bound only when the peer has acknowledged it."""
    noise = [("x-noise", "n" * 1000)] * 40
    async with running(FakeService()) as (server, _), connected(server.port, hasty=True) as peer:
        status, message = await peer.status(await peer.call(path, *noise, end=True))
        assert f"{status} {message}".startswith(f"{INVALID} metadata: ")


class Closed(SmallService):
    def identify(self, metadata: Any) -> Any:
        raise UnauthenticatedError("nobody knows you")


async def test_nothing_is_taken_in_of_a_caller_that_is_refused() -> None:
    async with running(Closed()) as (server, _), connected(server.port) as peer:
        stream = await peer.call(CLASSIFY)
        sent = await peer.send(stream, framed(bytes(MIB - 5)))
        assert await peer.status(stream) == (UNAUTHENTICATED, "nobody knows you")
        assert sent <= WINDOW


async def stall(peer: Peer, path: str = CLASSIFY) -> int:
    """A call of which all but the last byte of the message comes, for as much as is taken in."""
    stream = await peer.call(path)
    await peer.send(stream, framed(bytes(MIB - 10), MIB - 9))
    return stream


async def test_no_more_is_taken_in_than_the_bound_whatever_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rpc.receiving.GRACE_SECONDS", 30.0)
    async with (
        running(SmallService(), max_receive_bytes=3 * MIB) as (server, _),
        AsyncExitStack() as stack,
    ):
        peers = [await stack.enter_async_context(connected(server.port)) for _ in range(4)]
        calls = [[await stall(peer) for _ in range(3)] for peer in peers]
        assert sum(len(streams) for streams in calls) == 12
        assert sum(peer.sent for peer in peers) <= 3 * MIB + 9 * WINDOW


async def test_a_call_that_finds_no_room_is_told_to_come_back() -> None:
    async with (
        running(SmallService(), max_receive_bytes=MIB, receive_timeout=1.0) as (server, channel),
        connected(server.port) as peer,
    ):
        stuck = await asyncio.gather(*[peer.call(CLASSIFY) for _ in range(3)])
        ends = {await peer.status(stream) for stream in stuck}
        assert ends <= {
            (DEADLINE, "no complete message within 1 s"),
            (EXHAUSTED, "too many messages are being received; try again shortly"),
        }
        assert len(ends) == 2
        assert await classify(channel, timeout=20)


async def test_a_message_that_dawdles_gives_way_to_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rpc.receiving.PATIENCE_SECONDS", 0.1)
    async with (
        running(SmallService(), max_receive_bytes=2 * MIB) as (server, channel),
        connected(server.port) as peer,
    ):
        dawdling = [await stall(peer) for _ in range(2)]
        assert await classify(channel, timeout=20)
        status, message = await peer.status(dawdling[0])
        assert (status, message) == (EXHAUSTED, "the request came too slowly while others waited; send it again")


async def keep_stalling(port: int, calls: int) -> None:
    """One connection with `calls` messages of which half comes; each that is ended is begun anew."""
    async with connected(port) as peer:
        open_calls: set[int] = set()
        while True:
            while len(open_calls) < calls:
                stream = await peer.call(CLASSIFY)
                await peer.send(stream, framed(b"x", MIB - 9))
                open_calls.add(stream)
            open_calls -= await peer.ended()


@pytest.mark.parametrize(("connections", "calls"), [(20, 1), (20, 10), (1, 200)])
async def test_callers_whose_messages_do_not_come_shut_nobody_out(
    monkeypatch: pytest.MonkeyPatch, connections: int, calls: int
) -> None:
    monkeypatch.setattr("serving.rpc.receiving.GRACE_SECONDS", 0.1)
    slow = metrics.REJECTED.labels("slow")
    before = slow._value.get()
    async with running(SmallService(at_once), max_receive_bytes=4 * MIB) as (server, channel):
        stalling = [asyncio.create_task(keep_stalling(server.port, calls)) for _ in range(connections)]
        try:
            async with asyncio.timeout(20):
                while slow._value.get() < before + 4:
                    await asyncio.sleep(0.01)
            for _ in range(10):
                assert await classify(channel, timeout=20)
        finally:
            for task in stalling:
                task.cancel()
            await asyncio.gather(*stalling, return_exceptions=True)


async def test_whose_connection_waits_with_hundreds_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody has made others wait."""
    monkeypatch.setattr("serving.rpc.receiving.GRACE_SECONDS", 1.0)
    refused = metrics.REJECTED.labels("receiving")
    before = refused._value.get()
    async with running(SmallService(at_once), max_receive_bytes=4 * MIB) as (server, channel):
        assert await classify(channel, timeout=20)
        stalling = [asyncio.create_task(keep_stalling(server.port, 40)) for _ in range(5)]
        try:
            async with asyncio.timeout(20):
                while refused._value.get() < before + 4:
                    await asyncio.sleep(0.01)
            assert await asyncio.gather(*(classify(channel, timeout=20) for _ in range(5)))
        finally:
            for task in stalling:
                task.cancel()
            await asyncio.gather(*stalling, return_exceptions=True)


async def test_health_answers_whatever_is_stuck_elsewhere() -> None:
    async with (
        running(SmallService(), max_receive_bytes=MIB, max_calls=8) as (server, channel),
        connected(server.port) as peer,
    ):
        for path in [CLASSIFY] * 10 + [REFLECT] * 5:
            await peer.call(path)
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("path", [CLASSIFY, WATCH])
async def test_one_call_more_than_may_be_open_is_told_to_come_back(path: str) -> None:
    async with running(FakeService(), max_calls=3) as (server, _), connected(server.port) as peer:
        for _ in range(4):
            await peer.call(path)
        # Which of them is the last one is up to gRPC.
        async with asyncio.timeout(20):
            (refused,) = await peer.ended()
        assert await peer.status(refused) == (EXHAUSTED, "too many calls are open; try again shortly")


async def test_a_call_that_is_over_makes_room() -> None:
    async with running(FakeService(at_once), max_calls=1) as (_, channel):
        for _ in range(20):
            # The answer is here before the server's task has ended.
            while not await answered(channel):
                await asyncio.sleep(0)


async def answered(channel: grpc.aio.Channel) -> bool:
    try:
        return bool(await classify(channel, timeout=20))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False


async def test_one_connection_more_than_may_be_open_is_closed() -> None:
    async with running(FakeService(), max_connections=2) as (server, _), AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(connected(server.port))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            async with asyncio.timeout(20):
                assert await reader.read() == b""
        finally:
            writer.close()


class Silent(LocalContext):
    """Sends nothing until it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(peer=f"{name}:1")
        self.sends = asyncio.Event()

    async def read(self) -> Any:
        await self.sends.wait()


async def test_who_has_waited_for_its_place_the_longest_has_the_least_time_left() -> None:
    receiving, ended = Receiving(2, 1.0), []

    async def read(name: str, context: Silent) -> None:
        with suppress(ServiceError):
            await receiving.read(context)
        ended.append(name)

    async with asyncio.TaskGroup() as reads:
        callers = {name: Silent(name) for name in ("first", "second", "early", "late")}
        for name in ("first", "second"):
            reads.create_task(read(name, callers[name]))
        await asyncio.sleep(0.2)
        reads.create_task(read("early", callers["early"]))
        await asyncio.sleep(0.5)
        reads.create_task(read("late", callers["late"]))
        await asyncio.sleep(0)
        # Those that wait have waited for long: the newest is next. The time of the second is up before the early one's.
        callers["first"].sends.set()
    assert ended == ["first", "second", "early", "late"]


@pytest.mark.parametrize("path", [CLASSIFY, CHECK])
async def test_a_caller_that_takes_in_nothing_of_its_answer_is_left_in_the_end(path: str) -> None:
    settings: dict[str, Any] = {"max_connection_age": 0.1, "max_timeout": 1.0, "max_calls": 1}
    async with running(FakeService(), **settings) as (server, channel), connected(server.port) as peer:
        await peer.starve()
        stream = await peer.call(path)
        await peer.send(stream, framed(b""), end=True)
        await peer.until_closed()
        # Its place is free again.
        while not await answered(channel):
            await asyncio.sleep(0.01)


async def test_a_message_that_does_not_come_leaves_nothing_behind() -> None:
    async with (
        running(SmallService(), receive_timeout=0.05, max_receive_bytes=MIB) as (server, _),
        connected(server.port) as peer,
    ):
        with no_circles(ServiceError):
            for stream in [await peer.call(CLASSIFY) for _ in range(3)]:
                await peer.status(stream)
            await asyncio.sleep(0.05)
