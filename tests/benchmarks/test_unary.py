"""The small gRPC client gets from a real server what gRPC's own would: messages larger than a window, errors, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock, patch

import grpc
import pytest

from benchmarks.peers.doors import Grpc
from benchmarks.unary import Connection, Pool, UnaryError, addresses
from tests.processes import free_port

PATH = "/peers.Recognizer/Recognize"


async def same(request: bytes, context: Any) -> bytes:
    if not request:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "is empty")
    return request


@asynccontextmanager
async def echo(*options: tuple[str, int], recognize: Any = same) -> AsyncIterator[int]:
    """The port of a server that answers with what it is sent; empty messages with an error."""
    server = grpc.aio.server(options=options)
    methods: Any = {"Recognize": grpc.unary_unary_rpc_method_handler(recognize)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peers.Recognizer", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_messages_of_any_length_go_there_and_back_over_one_connection() -> None:
    async with echo() as port, asyncio.timeout(20):
        connection = await Connection.open("127.0.0.1", port)
        try:
            for size in (1, 70_000, 2, 3_000_000, 100_000):
                message = bytes([size % 251]) * size
                assert await connection.call(PATH, message) == message
        finally:
            connection.close()


async def test_an_error_is_one_and_the_connection_goes_on() -> None:
    async with echo() as port, asyncio.timeout(20):
        connection = await Connection.open("127.0.0.1", port)
        try:
            for path, message, code in (
                (PATH, b"", "INVALID_ARGUMENT"),
                ("/peers.Recognizer/Nothing", b"x", "UNIMPLEMENTED"),
                ("/peers.Recognizer/Nothing", b"x" * 1_000_000, "UNIMPLEMENTED"),  # told before all of it was sent
            ):
                with pytest.raises(UnaryError) as caught:
                    await connection.call(path, message)
                assert caught.value.code == code
            assert await connection.call(PATH, b"x") == b"x"
        finally:
            connection.close()


async def test_callers_at_once_have_connections_of_their_own() -> None:
    async with echo() as port, asyncio.timeout(20):
        door = Grpc(port)
        try:
            bodies = [b"[%d]" % number for number in range(20)]
            answers = await asyncio.gather(*map(door.ask, bodies))
            assert [door.read(answer) for answer in answers] == [[number] for number in range(20)]
        finally:
            await door.close()


async def test_connections_that_the_server_ends_in_time_cost_no_answer() -> None:
    ages = ("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 10_000)
    async with echo(*ages) as port, asyncio.timeout(20):
        door = Grpc(port)
        opened = 0

        async def count(*_: Any) -> Connection:
            nonlocal opened
            opened += 1
            return await Connection.open(*_)

        try:
            with patch("benchmarks.unary.Connection", Mock(open=count)):
                while opened < 4:
                    assert await door.ask(b"[1]") == b"[1]"
        finally:
            await door.close()


async def test_a_pool_takes_turns_and_names_the_status_of_who_does_not_answer() -> None:
    async with echo() as one, echo() as other, asyncio.timeout(20):
        port = free_port()
        pool = Pool(addresses(f"127.0.0.1:{one}, localhost:{other},127.0.0.1:{port}"))
        try:
            for _ in range(2):
                assert await pool.call(PATH, b"x", 5) == b"x"
                assert await pool.call(PATH, b"y", 5) == b"y"
                with pytest.raises(UnaryError) as caught:
                    await pool.call(PATH, b"z", 5)
                assert caught.value.code == "UNAVAILABLE"
        finally:
            pool.close()


async def test_servers_are_told_of_the_deadline_and_callers_of_its_end() -> None:
    told: list[float] = []

    async def wait(request: bytes, context: Any) -> bytes:
        told.append(context.time_remaining())
        await asyncio.sleep(30)
        return request

    async with echo(recognize=wait) as port, asyncio.timeout(20):
        pool = Pool([("127.0.0.1", port)])
        try:
            with pytest.raises(UnaryError) as caught:
                await pool.call(PATH, b"x", 0.3)
        finally:
            pool.close()
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert 0 < told[0] <= 0.3


@pytest.mark.parametrize("text", ["localhost", "http://localhost:1", "unix:/socket:x", "127.0.0.1:1,"])
def test_addresses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        addresses(text)


async def test_a_server_that_leaves_ends_the_call() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        connection = await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await connection.call(PATH, b"x" * 1_000_000)
        connection.close()
