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
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from ferry.v1 import gateway_pb2
from gateway.http.calls import Door
from gateway.http.options import Options, first_fault
from gateway.http.origin import same
from gateway.http.problems import Problem, ProblemError, of_status
from gateway.newest import Newest
from gateway.plain import recognition_json
from serving import memory
from serving.errors import OverloadedError
from serving.rpc.identity import of_certificate
from serving.rpc.seats import Holder, Seats
from serving.rpc.senders import owner_of

HELLO_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 60.0
"""After which a connection ends on which nothing comes."""
_MAX_TEXT: Final = 4096
MOST_SOCKETS: Final = 32
QUIET_SECONDS: Final = 2.0
"""After which a connection on which nothing comes gives way to a new one, where there are as many as may be."""
_RETRY_SECONDS: Final = 5.0
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


def router(door: Door, max_age: float, *, keys: bool) -> APIRouter:
    """
    Args:
        door: makes the calls.
        max_age: seconds that a connection may last.
        keys: whether callers need one.
    """
    routes = APIRouter()
    seats = Seats(MOST_SOCKETS, _full, quiet=QUIET_SECONDS)

    @routes.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        seat = seats.take(socket, _holder(socket))
        with contextlib.suppress(WebSocketDisconnect):
            if not _same_origin(socket):
                await socket.close(POLICY)
                return
            try:
                async with asyncio.timeout(max_age), seat:
                    await socket.accept()
                    headers, options = await _greeted(door, socket)
                    if keys:
                        seat.holder = _holder(socket, headers.get("authorization", ""))
                    await _serve(door, socket, headers, options, lambda: seats.heard(socket))
            except OverloadedError as error:
                if socket.application_state is WebSocketState.CONNECTING:
                    await socket.send_denial_response(
                        Problem(503, error.message, headers={"retry-after": f"{error.retry_after:.0f}"}).response()
                    )
                else:
                    await _refuse(socket, of_status(error.to_status()), TRY_LATER)
            except TimeoutError:
                await _refuse(socket, Problem(408, "the connection has had its time"), TRY_LATER)

    return routes


def _full() -> OverloadedError:
    return OverloadedError("too many cameras are connected; try again in a while", _RETRY_SECONDS)


def _holder(socket: WebSocket, authorization: str = "") -> Holder:
    """Whose a seat is: a key's, once the cluster has taken that; else a certificate's, else an address's."""
    host, port = socket.client or ("", 0)
    peer = f"{host}:{port}"
    owner = authorization.partition(" ")[2].strip()
    return Holder(owner or owner_of(of_certificate(getattr(socket.state, "certificate", None) or {}), peer), peer)


async def _greeted(door: Door, socket: WebSocket) -> tuple[dict[str, str], Options]:
    """Headers of the calls to make, and options of all frames, as the first message has them.

    Raises:
        WebSocketDisconnect: the caller has left, or may not call.
    """
    hello = await _hello(socket)
    headers = {name: value for name, value in socket.headers.items() if name not in {"authorization", "x-request-id"}}
    if hello.authorization:
        headers["authorization"] = hello.authorization
    # Whoever may not call is told before it sends a picture.
    try:
        await door.ask("GetStatus", socket, gateway_pb2.GetStatusRequest(), headers=headers)
    except ProblemError as error:
        await _refuse(socket, error.problem, _ENDING.get(error.problem.status, TRY_LATER))
        raise WebSocketDisconnect from None
    return headers, hello.options


async def _serve(
    door: Door, socket: WebSocket, headers: dict[str, str], options: Options, heard: Callable[[], None]
) -> None:
    await _say(socket, {"type": "ready"})
    frames: Newest[bytes] = Newest()
    answering = asyncio.create_task(_answer(door, socket, options, headers, frames))
    receiving = asyncio.create_task(_receive(socket, frames, heard))
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
        del answering, receiving, task  # an error's traceback holds this frame, and the task the error


async def _hello(socket: WebSocket) -> Hello:
    """The first message.

    Raises:
        WebSocketDisconnect: the caller has left, or it was none.
    """
    problem = Problem(400, 'the first message must be {"type": "hello"}')
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            message = await socket.receive()
        text = message.get("text")
        if message["type"] != "websocket.disconnect" and text is not None and len(text) <= _MAX_TEXT:
            return Hello.model_validate_json(text)
    except TimeoutError:
        problem = Problem(408, problem.detail)
    except ValidationError as error:
        where, said = first_fault(error.errors(include_url=False, include_input=False))
        problem = Problem(400, said, "INVALID_ARGUMENT", where or "message")
    else:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
    await _refuse(socket, problem, POLICY)
    raise WebSocketDisconnect


async def _receive(socket: WebSocket, frames: Newest[bytes], heard: Callable[[], None]) -> Problem | None:
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
        memory.received(len(image))
        heard()
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
