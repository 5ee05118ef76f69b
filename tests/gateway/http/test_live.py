"""`/api/live`: frames over a WebSocket, the newest wins; and what nobody should send."""

import asyncio
import hashlib
import json
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.http.routes import live
from serving.errors import OverloadedError
from tests.gateway.fakes import eventually, jpeg, refuse
from tests.gateway.http.sockets import connect as raw_connect

HELLO = json.dumps({"type": "hello"})


def open_live(http, **more):
    return connect(f"ws://127.0.0.1:{http.port}/api/live", proxy=None, **more)


async def hear(socket):
    async with asyncio.timeout(20):
        return json.loads(await socket.recv())


async def greeted(socket, hello=HELLO):
    await socket.send(hello)
    assert await hear(socket) == {"type": "ready"}


async def ended(socket):
    """The problem that is told before the end, and its code."""
    heard = await hear(socket)
    with pytest.raises(ConnectionClosed) as caught:
        await hear(socket)
    return heard["error"], caught.value.rcvd.code


async def test_frames_are_answered_with_their_numbers(http, ensembler):
    async with open_live(http) as socket:
        await greeted(socket, json.dumps({"type": "hello", "options": {"max_faces": 4}}))
        for number in range(3):
            await socket.send(jpeg(number))
            answer = await hear(socket)
            assert (answer["type"], answer["frame"], answer["dropped"]) == ("answer", number, 0)
            assert answer["result"]["faces"][0]["expression"] == "happy"
    assert {request.options.max_faces for request in ensembler.requests} == {4}


async def test_the_newest_frame_wins(http, ensembler):
    ensembler.gate.clear()
    async with open_live(http) as socket:
        await greeted(socket)
        await socket.send(jpeg(0))
        await eventually(lambda: len(ensembler.requests) == 1)
        for number in range(1, 6):
            await socket.send(jpeg(number))
        await (await socket.ping())
        ensembler.gate.set()
        heard = [await hear(socket) for _ in range(2)]
    assert [(answer["frame"], answer["dropped"]) for answer in heard] == [(0, 0), (5, 4)]
    assert [request.image for request in ensembler.requests] == [jpeg(0), jpeg(5)]


async def test_a_frame_that_is_no_picture_is_told_and_the_next_one_answered(http):
    async with open_live(http) as socket:
        await greeted(socket)
        await socket.send(b"no picture")
        told = await hear(socket)
        assert (told["type"], told["frame"], told["error"]["field"]) == ("error", 0, "image")
        await socket.send(jpeg())
        assert (await hear(socket))["frame"] == 1


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (jpeg(), "the first message"),
        ("no json", "JSON"),
        ("[]", "object"),
        ('{"type": "bye"}', "hello"),
        ('{"type": "hello", "options": {"max_faces": 1000}}', "256"),
        ('{"type": "hello", "colour": 1}', "not known"),
        ("x" * 5000, "the first message"),
    ],
)
async def test_a_first_message_that_is_none(http, first, said):
    async with open_live(http) as socket:
        await socket.send(first)
        problem, code = await ended(socket)
        assert said in problem["detail"]
        assert code == live.POLICY


async def test_text_after_the_first_message_ends_it(http):
    async with open_live(http) as socket:
        await greeted(socket)
        await socket.send(HELLO)
        assert (await ended(socket))[1] == live.UNSUPPORTED


async def test_a_frame_that_is_too_large_ends_it(start_http):
    http = await start_http(max_image_bytes=10_000)
    async with open_live(http) as socket:
        await greeted(socket)
        await socket.send(bytes(10_001))
        with pytest.raises(ConnectionClosed) as caught:
            await hear(socket)
        assert caught.value.rcvd.code == 1009


async def test_whoever_says_nothing_is_sent_away(http, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(live, "HELLO_SECONDS", 0.1)
        async with open_live(http) as socket:
            assert (await ended(socket))[0]["status"] == 408
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.1)
    async with open_live(http) as socket:
        await greeted(socket)
        assert (await ended(socket))[0]["status"] == 408


async def test_a_connection_has_its_time(start_http):
    http = await start_http(max_stream_age=1.0)
    async with open_live(http) as socket:
        await greeted(socket)
        assert (await ended(socket))[1] == live.TRY_LATER


async def test_keys(start_http, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    http = await start_http(api_keys=keys)
    for hello in (HELLO, json.dumps({"type": "hello", "authorization": "Bearer wrong"})):
        async with open_live(http) as socket:
            await socket.send(hello)
            problem, code = await ended(socket)
            assert (problem["status"], code) == (401, live.POLICY)
    async with open_live(http) as socket:
        await greeted(socket, json.dumps({"type": "hello", "authorization": "Bearer secret"}))
        await socket.send(jpeg())
        assert (await hear(socket))["type"] == "answer"


async def test_pages_of_other_origins_may_not_connect(http):
    for origin in ("https://elsewhere.example", "null", "http://["):
        with pytest.raises(InvalidStatus) as caught:
            async with open_live(http, origin=origin):
                pass
        assert caught.value.response.status_code == 403
    async with open_live(http, origin=f"http://127.0.0.1:{http.port}") as socket:
        await greeted(socket)


async def test_so_many_cameras_at_once(start_http, monkeypatch):
    monkeypatch.setattr(live, "MOST_SOCKETS", 1)
    http = await start_http()
    async with open_live(http) as socket:
        await greeted(socket)
        with pytest.raises(InvalidStatus) as caught:
            async with open_live(http):
                pass
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["retry-after"]

    async def again():
        async with open_live(http) as socket:
            await greeted(socket)

    await eventually_connects(again)


async def test_connections_on_which_nothing_comes_give_way_to_a_camera(start_http, monkeypatch):
    monkeypatch.setattr(live, "MOST_SOCKETS", 2)
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.0)
    http = await start_http()
    async with open_live(http) as silent, open_live(http) as idle:
        await greeted(idle)
        async with open_live(http) as first, open_live(http) as second:
            for camera in (first, second):
                await greeted(camera)
                await camera.send(jpeg())
                assert (await hear(camera))["type"] == "answer"
        for socket in (silent, idle):
            problem, code = await ended(socket)
            assert "nothing has come for a while, and others wait" in problem["detail"]
            assert (problem["status"], code) == (429, live.TRY_LATER)


async def busy(socket):
    """A camera whose frames come and are answered."""
    await socket.send(jpeg())
    return (await hear(socket))["type"] == "answer"


async def test_whoever_holds_all_cameras_leaves_a_fair_share_to_others(start_http, monkeypatch):
    monkeypatch.setattr(live, "MOST_SOCKETS", 4)
    http = await start_http()
    async with AsyncExitStack() as stack:

        async def camera(address):
            socket = await stack.enter_async_context(open_live(http, local_addr=(address, 0)))
            await greeted(socket)
            assert await busy(socket)
            return socket

        many = [await camera("127.0.0.1") for _ in range(4)]
        others = [await camera("127.0.0.2") for _ in range(2)]
        for gone in many[:2]:
            problem, code = await ended(gone)
            assert "others have fewer" in problem["detail"]
            assert (problem["status"], code) == (429, live.TRY_LATER)
        for address in ("127.0.0.1", "127.0.0.2"):
            with pytest.raises(InvalidStatus):
                await camera(address)
        for socket in (*many[2:], *others):
            assert await busy(socket)


async def test_cameras_of_a_key_are_counted_together_however_it_is_written(start_http, monkeypatch, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("shop", "lab")))
    monkeypatch.setattr(live, "MOST_SOCKETS", 2)
    http = await start_http(api_keys=keys)
    async with AsyncExitStack() as stack:

        async def camera(authorization):
            socket = await stack.enter_async_context(open_live(http))
            await greeted(socket, json.dumps({"type": "hello", "authorization": authorization}))
            assert await busy(socket)
            return socket

        first, second = await camera("Bearer shop"), await camera("bearer  shop ")
        other = await camera("Bearer lab")
        assert "others have fewer" in (await ended(first))[0]["detail"]
        for socket in (second, other):
            assert await busy(socket)
        with pytest.raises(InvalidStatus):
            await camera("Bearer shop")


async def test_a_connection_that_has_had_its_time_is_in_no_new_one_s_way_while_it_ends(start_http, monkeypatch):
    monkeypatch.setattr(live, "MOST_SOCKETS", 1)
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.0)
    ending, end, refuse_socket = asyncio.Event(), asyncio.Event(), live._refuse

    async def slowly(*arguments):
        ending.set()
        await end.wait()
        await refuse_socket(*arguments)

    monkeypatch.setattr(live, "_refuse", slowly)
    http = await start_http(max_stream_age=0.1)
    async with open_live(http) as old:
        async with asyncio.timeout(20):
            await ending.wait()
        async with open_live(http):
            end.set()
        problem, _ = await ended(old)
        assert problem["detail"] == "the connection has had its time"


async def eventually_connects(connecting):
    """The end of the former connection may not be known there yet."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await connecting()
            except InvalidStatus:
                await asyncio.sleep(0.02)


async def test_overload_slows_the_caller_down(http, ensembler):
    async def behave(fake, request, context):
        if len(fake.requests) == 1:
            await refuse(context, OverloadedError("the queue is full", 0.1))

    ensembler.behave = behave
    async with open_live(http) as socket:
        await greeted(socket)
        await socket.send(jpeg(1))
        assert (await hear(socket))["error"]["status"] == 429
        await socket.send(jpeg(2))
        assert (await hear(socket))["frame"] == 1


async def test_a_caller_who_leaves_stops_the_work(http, ensembler):
    ensembler.gate.clear()
    async with open_live(http) as socket:
        await greeted(socket)
        await socket.send(jpeg())
        await eventually(lambda: bool(ensembler.requests))
    await eventually(lambda: ensembler.cancelled == 1)


async def test_bytes_that_are_no_frames_end_it_and_harm_nobody(http):
    handshake = (
        b"GET /api/live HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    for wrong in (b"\x82\x05hello", b"\xff" * 50, b"\x80\x80\x00\x00\x00\x00", b"\x82\xff" + b"\xff" * 8 + b"\x00" * 4):
        async with raw_connect(http.port) as (reader, writer):
            writer.write(handshake)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            writer.write(wrong)
            await reader.read()
    assert (await http.predict(jpeg())).status_code == 200
