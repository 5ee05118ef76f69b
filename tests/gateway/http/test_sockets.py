"""WebSockets as no client speaks them: small frames, pings that nobody reads, handshakes that are refused or left."""

import json
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from gateway.http.routes import live
from gateway.http.sockets import MOST_FRAMES, MOST_PARTS, SocketProtocol
from tests.gateway.fakes import jpeg
from tests.gateway.http.sockets import answer as raw_answer
from tests.gateway.http.sockets import connect as raw_connect
from tests.gateway.http.sockets import request_head
from tests.gateway.http.test_live import HELLO, greeted, open_live


async def test_an_answer_behind_bytes_that_ended_the_connection_is_no_fault():
    """Nobody who answers can know yet that it has ended."""
    protocol = SocketProtocol(uvicorn.Config(lambda scope: None), ServerState(), {})
    protocol.handshake_complete = protocol.close_sent = True
    with pytest.raises(ClientDisconnected):
        await protocol.send({"type": "websocket.send", "text": "an answer"})


def frame(opcode, data=b"", *, last=True):
    """As a client sends it, with a mask of zeros."""
    return bytes([0x80 * last | opcode, 0x80 | len(data)]) + bytes(4) + data


def in_parts(data, count):
    """A binary message in so many frames, most of them of a byte or none."""
    pieces = [data[n : n + 1] for n in range(count - 10)]
    rest = data[count - 10 :]
    step = -(-len(rest) // 10)
    pieces += [rest[n * step : (n + 1) * step] for n in range(10)]
    assert b"".join(pieces) == data
    return b"".join(frame(0 if n else 2, piece, last=n == count - 1) for n, piece in enumerate(pieces))


UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "sec-websocket-version": "13",
}


async def upgraded(reader, writer):
    writer.write(request_head("GET", "/api/live", UPGRADE))
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")


async def test_thousands_of_empty_frames_end_the_connection(http):
    async with raw_connect(http.port) as (reader, writer):
        await upgraded(reader, writer)
        writer.write(frame(1, HELLO.encode()) + frame(2) * (MOST_FRAMES + 9))
        assert b"too many frames at once" in await reader.read()
    assert (await http.predict(jpeg())).status_code == 200


async def test_a_picture_may_come_in_some_frames(http):
    image = jpeg()
    async with raw_connect(http.port) as (reader, writer):
        await upgraded(reader, writer)
        writer.write(frame(1, HELLO.encode()) + in_parts(image, MOST_PARTS))
        assert b'"type": "answer"' in await reader.readuntil(b'"answer"')


@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "of a byte"])
async def test_a_message_in_ever_more_frames_ends_the_connection(http, data):
    async with raw_connect(http.port) as (reader, writer):
        await upgraded(reader, writer)
        writer.write(frame(1, HELLO.encode()))
        await reader.readuntil(b'{"type": "ready"}')
        writer.write(frame(2, data, last=False) + frame(0, data, last=False) * MOST_PARTS + frame(9))
        assert (await reader.read()).endswith((1008).to_bytes(2, "big") + b"too many frames in one message")
    assert (await http.predict(jpeg())).status_code == 200


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 50, frame(2) * (MOST_FRAMES + 9), in_parts(b"x" * 300, MOST_PARTS + 1)],
    ids=["no frame", "frames", "parts"],
)
async def test_frames_before_the_handshake_is_answered_end_the_connection_alone(data):
    async def app(scope, receive, send):
        raise AssertionError("it never runs")

    transport = Mock(get_extra_info=Mock(return_value=None), is_closing=Mock(return_value=False))
    transport.abort.side_effect = lambda: setattr(transport.is_closing, "return_value", True)
    protocol = SocketProtocol(uvicorn.Config(app), ServerState(), {})
    protocol.connection_made(transport)
    protocol.data_received(request_head("GET", "/api/live", UPGRADE))
    protocol.data_received(data)
    assert transport.abort.call_count == 1
    for task in protocol.tasks:
        task.cancel()


async def ping_on(writer):
    while True:
        writer.write(frame(9, b"x" * 125) * 1000)
        await writer.drain()


async def test_a_caller_who_pings_and_does_not_read_is_cut_off(http):
    async with raw_connect(http.port) as (reader, writer):
        await upgraded(reader, writer)
        reader._transport.pause_reading()
        with pytest.raises(ConnectionError):
            await ping_on(writer)
    assert (await http.predict(jpeg())).status_code == 200


@pytest.mark.parametrize(
    "more",
    [{f"x-{number}": "a" for number in range(200)}, {"x-long": "a" * 9000}, {"content-length": "5"}],
    ids=["many headers", "a long header", "a body"],
)
async def test_handshakes_that_are_none_are_answered(http, more):
    async with raw_connect(http.port) as (reader, writer):
        writer.write(request_head("GET", "/api/live", UPGRADE | more))
        status, body = await raw_answer(reader)
        assert (status, "no WebSocket handshake" in json.loads(body)["detail"]) == (400, True)
        assert await reader.read() == b""


@pytest.mark.parametrize("after", [b"", b"\xff" * 50, frame(2) * (MOST_FRAMES + 9)], ids=["", "no frame", "frames"])
async def test_handshakes_that_are_refused_or_left_say_nothing_in_the_log(start_http, monkeypatch, caplog, after):
    monkeypatch.setattr(live, "MOST_SOCKETS", 1)
    http = await start_http()
    async with open_live(http) as socket:
        await greeted(socket)
        for path in ("/api/live", "/nothing"):
            for more in ({}, {"origin": "https://elsewhere.example"}):
                head = request_head("GET", path, UPGRADE | more)
                async with raw_connect(http.port) as (reader, writer):
                    writer.write(head + after)
                    await reader.read()
                async with raw_connect(http.port) as (_, writer):
                    writer.write(head + after)
                async with raw_connect(http.port) as (_, writer):
                    writer.write(head + after)
                    writer.transport.abort()
    async with raw_connect(http.port) as (reader, writer):
        writer.write(request_head("GET", "/api/live", UPGRADE) + after)
        writer.write_eof()
        await reader.read(1)
    assert (await http.predict(jpeg())).status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", ["/nothing", "/api/predict"])
async def test_where_there_is_no_socket(http, path):
    async with raw_connect(http.port) as (reader, writer):
        writer.write(request_head("GET", path, UPGRADE))
        status, body = await raw_answer(reader)
        assert (status, json.loads(body)["status"]) == (404, 404)
