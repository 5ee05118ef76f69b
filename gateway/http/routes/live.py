"""`/api/live`: frames of a camera over a WebSocket; the newest one wins.

The caller's first message is JSON: `{"type": "hello"}`, with `authorization` (`Bearer KEY`) where the cluster asks for
a key, and `options`. After `{"type": "ready"}` each binary message is an encoded image. Answers are JSON: `answer` with
the `frame` (its number, from 0), `dropped` (frames since the last answer that gave way to newer ones) and the `result`;
or `error` with a problem.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from ferry.v1 import gateway_pb2
from gateway.http.answers import recognition_json
from gateway.http.calls import Door
from gateway.http.options import Options, first_fault
from gateway.http.origin import same
from gateway.http.problems import Problem, ProblemError
from gateway.newest import Newest

HELLO_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 60.0
"""After which a connection ends on which nothing comes."""
_MAX_TEXT: Final = 4096
MOST_SOCKETS: Final = 32
QUIET_SECONDS: Final = 2.0
"""After which a connection on which nothing comes gives way to a new one, where there are as many as may be."""
MAX_FRAME_BYTES: Final = 1 << 20
"""Each connection may hold three frames: one on its way in, one that waits, one that is worked on. Nothing else bounds
what comes in here, since a frame is complete before anybody asks for it."""
UNSUPPORTED, POLICY, TRY_LATER = 1003, 1008, 1013
"""Codes of RFC 6455 and its registry that end a connection."""
_ENDING: Final = {401: POLICY, 403: POLICY, 404: POLICY}
"""Problems that every frame would have."""


class Hello(BaseModel):
    """The first message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["hello"]
    authorization: Annotated[str, Field(max_length=1024)] = ""
    options: Options = Options()


@dataclass(slots=True, eq=False)
class _Seat:
    """Of one connection.

    Attributes:
        heard: when something came last, by the loop's clock.
        time: until when it may last.
        taken: whether another one has it.
    """

    heard: float
    time: asyncio.Timeout
    taken: bool = False


def router(door: Door, max_age: float) -> APIRouter:
    """
    Args:
        door: makes the calls.
        max_age: seconds that a connection may last.
    """
    routes = APIRouter()

    seats: set[_Seat] = set()

    def make_room() -> bool:
        """Whether there is a free seat; the one that has been quiet the longest may have to be left for it."""
        if len(seats) < MOST_SOCKETS:
            return True
        quiet, now = min(seats, key=lambda seat: seat.heard), asyncio.get_running_loop().time()
        if now - quiet.heard < QUIET_SECONDS:
            return False
        seats.discard(quiet)
        if not quiet.time.expired():  # else it is ending already
            quiet.taken = True
            quiet.time.reschedule(now)
        return True

    @routes.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        if not _same_origin(socket):
            await socket.close(POLICY)
            return
        if not make_room():
            said = "too many cameras are connected; try again in a while"
            await socket.send_denial_response(Problem(503, said, headers={"retry-after": "5"}).response())
            return
        seat = _Seat(asyncio.get_running_loop().time(), asyncio.timeout(max_age))
        with contextlib.suppress(WebSocketDisconnect):
            try:
                async with seat.time:
                    seats.add(seat)
                    await socket.accept()
                    await _serve(door, socket, seat)
            except TimeoutError:
                said = (
                    "nothing has come for a while, and others wait" if seat.taken else "the connection has had its time"
                )
                await _refuse(socket, Problem(408, said), TRY_LATER)
            finally:
                seats.discard(seat)

    return routes


async def _serve(door: Door, socket: WebSocket, seat: _Seat) -> None:
    hello = await _hello(socket)
    if hello is None:
        return
    headers = {name: value for name, value in socket.headers.items() if name not in {"authorization", "x-request-id"}}
    if hello.authorization:
        headers["authorization"] = hello.authorization
    # Whoever may not call is told before it sends a picture.
    try:
        await door.ask("GetStatus", socket, gateway_pb2.GetStatusRequest(), headers=headers)
    except ProblemError as error:
        await _refuse(socket, error.problem, _ENDING.get(error.problem.status, TRY_LATER))
        return
    await _say(socket, {"type": "ready"})
    frames: Newest[bytes] = Newest()
    answering = asyncio.create_task(_answer(door, socket, hello.options, headers, frames))
    receiving = asyncio.create_task(_receive(socket, frames, seat))
    try:
        await asyncio.wait({answering, receiving}, return_when=asyncio.FIRST_COMPLETED)
        problem = receiving.result() if receiving.done() else None
        if answering.done():
            answering.result()
        if problem is not None:
            await _refuse(socket, problem, UNSUPPORTED if problem.status == 415 else POLICY)
    finally:
        for task in (answering, receiving):
            task.cancel()
        await asyncio.gather(answering, receiving, return_exceptions=True)


async def _hello(socket: WebSocket) -> Hello | None:
    """The first message; None where it was none, and the connection is closed."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            message = await socket.receive()
    except TimeoutError:
        await _refuse(socket, Problem(408, 'the first message must be {"type": "hello"}'), POLICY)
        return None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    text = message.get("text")
    if text is None or len(text) > _MAX_TEXT:
        await _refuse(socket, Problem(400, 'the first message must be {"type": "hello"}'), POLICY)
        return None
    try:
        return Hello.model_validate_json(text)
    except ValidationError as error:
        where, said = first_fault(error.errors(include_url=False, include_input=False))
        await _refuse(socket, Problem(400, said, "INVALID_ARGUMENT", where or "message"), POLICY)
        return None


async def _receive(socket: WebSocket, frames: Newest[bytes], seat: _Seat) -> Problem | None:
    """Takes in frames until the caller leaves, or does what it should not."""
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                message = await socket.receive()
        except TimeoutError:
            return Problem(408, f"nothing has come for {IDLE_SECONDS:g} s")
        if message["type"] == "websocket.disconnect":
            return None
        image = message.get("bytes")
        if image is None:
            return Problem(415, "after the first message only pictures are taken, each a binary message")
        seat.heard = asyncio.get_running_loop().time()
        frames.put(image)


async def _answer(
    door: Door, socket: WebSocket, options: Options, headers: dict[str, str], frames: Newest[bytes]
) -> None:
    while (taken := await frames.take()) is not None:
        request = gateway_pb2.RecognizeRequest(
            image=taken.item, options=options.to_proto(), bypass_cache=options.bypass_cache
        )
        about: dict[str, Any] = {"frame": taken.number, "dropped": taken.dropped}
        try:
            answer = await door.ask("Recognize", socket, request, headers=headers)
        except ProblemError as error:
            await _say(socket, {"type": "error", **about, "error": error.problem.document})
            if error.problem.status in _ENDING:
                await socket.close(_ENDING[error.problem.status])
                return
            # Whoever is told to come back has to, before more is asked of the cluster.
            await asyncio.sleep(float(error.problem.headers.get("retry-after", 0)))
            continue
        head = json.dumps({"type": "answer", **about}).encode()
        await socket.send_text((head[:-1] + b', "result": ' + recognition_json(answer) + b"}").decode())


async def _say(socket: WebSocket, document: dict[str, Any]) -> None:
    await socket.send_text(json.dumps(document))


async def _refuse(socket: WebSocket, problem: Problem, code: int) -> None:
    await _say(socket, {"type": "error", "error": problem.document})
    await socket.close(code)


def _same_origin(socket: WebSocket) -> bool:
    """Browsers say where a page comes from, and let pages of others connect; other programs say nothing."""
    origin, host = socket.headers.get("origin"), socket.headers.get("host", "")
    return origin is None or same(origin, {host, socket.headers.get("x-forwarded-host", host)})
