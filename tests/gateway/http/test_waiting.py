import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from gateway.http import calls
from gateway.http.stream import Stream
from gateway.http.waiting import Room, Waiting
from serving.errors import OverloadedError
from tests.gateway.fakes import FakeEnsembler, jpeg
from tests.gateway.http.conftest import StartHttp
from tests.gateway.http.sockets import connect, request_head


async def test_answers_come_in_order_and_take_no_room_afterwards() -> None:
    room = Room(10)
    waiting = Waiting(room)
    waiting.put(b"one")
    waiting.put(b"two")
    assert room.held == 6
    waiting.end()
    assert [await waiting.get() for _ in range(3)] == [b"one", b"two", None]
    assert room.held == 0


async def test_one_answer_of_each_call_finds_room_and_no_second_one() -> None:
    room = Room(10)
    first, second = Waiting(room), Waiting(room)
    first.put(bytes(10))
    second.put(bytes(10))
    with pytest.raises(OverloadedError, match="answers are not read"):
        second.put(b"x")
    assert await second.get() == bytes(10)
    second.put(b"x")
    assert room.held == 11


async def test_what_nobody_reads_is_dropped() -> None:
    room = Room(10)
    waiting = Waiting(room)
    waiting.put(b"one")
    waiting.close()
    waiting.put(b"late")
    assert (room.held, await waiting.get()) == (0, None)


async def test_who_waits_is_given_the_next_answer() -> None:
    waiting = Waiting(Room())
    asking = asyncio.create_task(waiting.get())
    await asyncio.sleep(0)
    waiting.put(b"one")
    assert await asking == b"one"


async def test_a_batch_whose_caller_does_not_read_ends(
    start_http: StartHttp, ensembler: FakeEnsembler, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, full = Room(1 << 20), asyncio.Event()
    put = Waiting.put

    def telling(self: Waiting, answer: bytes) -> None:
        try:
            put(self, answer)
        except OverloadedError:
            full.set()
            raise

    monkeypatch.setattr(calls, "Room", lambda: room)
    monkeypatch.setattr(Waiting, "put", telling)
    ensembler.faces = 256
    http = await start_http()
    body = json.dumps({"images": [{"image": base64.b64encode(jpeg()).decode()}] * 256}).encode()
    head = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    async with connect(http.port) as (reader, writer):
        writer.write(request_head("POST", "/api/predict-batch", head) + body)
        await full.wait()
        assert room.held <= 1 << 20
        assert b"answers are not read" in (await reader.read())[-1000:]
    assert room.held == 0


async def test_an_answer_that_is_not_taken_in_ends_in_time() -> None:
    closed, sent = asyncio.Event(), []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.set()

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body") == b"two":
            await asyncio.Event().wait()

    async def receive() -> Any:
        raise AssertionError

    await Stream(pieces(), "text/plain", 0.05)({"type": "http"}, receive, send)
    assert closed.is_set()
    assert all(message.get("more_body", True) for message in sent), "it has no end"
