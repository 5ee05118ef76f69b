"""`/v2`: the Open Inference Protocol over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from google.protobuf.message import Message
from starlette.responses import JSONResponse, Response

from ferry.inference import open_inference_grpc_pb2 as pb
from gateway.http.body import Body
from gateway.http.calls import Door
from gateway.http.messages import BESIDE_THE_IMAGE, LARGE_JSON, check_encoding
from gateway.http.problems import BodyError, Problem, ProblemError
from gateway.http.routes.inference_v2_described import INDEX_BODY, INFER_BODY, described
from gateway.inference_v2.models import IMAGE
from serving.inference_v2 import http_answer, http_question
from serving.inference_v2.http_question import HttpQuestion

PREFIX: Final = "/v2"
JSON_LENGTH: Final = "inference-header-content-length"
_BINARY: Final = "application/octet-stream"
_EXTENSION: Final = "binary_tensor_data"
_MAX_INDEX_BYTES: Final = 4 << 10
Handler = Callable[..., Awaitable[Response]]


def router(door: Door, max_image_bytes: int, able: Callable[[], bool]) -> APIRouter:
    """
    Args:
        door: makes calls of inference.GRPCInferenceService.
        max_image_bytes: of all encoded images of a question.
        able: whether the gateway can answer at present.
    """
    routes = APIRouter(prefix=PREFIX, tags=["inference v2"])
    models = ("/models/{name}", "/models/{name}/versions/{version}")
    ask = partial(_ask, door)

    def ready() -> bool:
        return door.calls.ready and able()

    @routes.get("/health/live", **described("Whether the process is well"))
    async def live() -> Response:
        return JSONResponse({"live": True})

    @routes.get("/health/ready", **described("Whether questions can be answered"))
    async def server_ready() -> Response:
        return JSONResponse({"ready": ready()}, 200 if ready() else 503)

    async def server(request: Request) -> Response:
        document = await ask("ServerMetadata", request, pb.ServerMetadataRequest())
        return JSONResponse({**document, "extensions": [*document["extensions"], _EXTENSION]})

    async def metadata(request: Request, name: str, version: str = "") -> Response:
        return JSONResponse(await ask("ModelMetadata", request, pb.ModelMetadataRequest(name=name, version=version)))

    async def config(request: Request, name: str, version: str = "") -> Response:
        answer = await door.ask("ModelConfig", request, pb.ModelConfigRequest(name=name, version=version))
        return JSONResponse(http_answer.plain(answer.config))

    async def model_ready(request: Request, name: str, version: str = "") -> Response:
        document = await ask("ModelReady", request, pb.ModelReadyRequest(name=name, version=version))
        return JSONResponse({"name": name, **document}, 200 if document["ready"] else 404)

    async def index(request: Request) -> Response:
        body = Body(request.scope, request.receive)
        document = await ask("RepositoryIndex", request, partial(_index, body), body)
        return JSONResponse(document["models"])

    async def infer(request: Request, name: str, version: str = "") -> Response:
        body = Body(request.scope, request.receive)
        questions: list[HttpQuestion] = []

        async def read() -> Message:
            data = await _whole(body, max_image_bytes * 4 // 3 + BESIDE_THE_IMAGE)
            length = _json_length(request.headers)
            if len(data) > LARGE_JSON:
                question = await asyncio.to_thread(http_question.read, data, length, {IMAGE})
            else:
                question = http_question.read(data, length, {IMAGE})
            questions.append(question)
            question.message.model_name, question.message.model_version = name, version
            return question.message

        answer = await door.ask("ModelInfer", request, read, body)
        text, json_length = http_answer.write(answer, questions[0])
        if json_length is None:
            return Response(text, media_type="application/json")
        return Response(text, media_type=_BINARY, headers={JSON_LENGTH: str(json_length)})

    def add(path: str, handler: Handler, method: str, summary: str, **more: Any) -> None:
        routes.add_api_route(path, _telling(handler), methods=[method], **described(summary, path, **more))

    add("", server, "GET", "Name, version and extensions of the server")
    add("/repository/index", index, "POST", "The models that there are", body=INDEX_BODY)
    for path in models:
        add(path, metadata, "GET", "Inputs and outputs of a model")
        add(f"{path}/config", config, "GET", "The same, as Triton's tools read it")
        add(f"{path}/ready", model_ready, "GET", "Whether a model can be asked")
        add(f"{path}/infer", infer, "POST", "Ask a model", body=INFER_BODY, binary=True)
    return routes


async def _ask(door: Door, method: str, request: Request, message: Any, body: Body | None = None) -> dict[str, Any]:
    return http_answer.plain(await door.ask(method, request, message, body))


def _telling(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Errors as the protocol has them over HTTP: an object with `error`."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request, **request.path_params)
        except ProblemError as error:
            return told_of(error.problem)

    return told


def told_of(problem: Problem) -> Response:
    """A problem as the protocol tells it."""
    said = f"{problem.field}: {problem.detail}" if problem.field else problem.detail
    headers = {**problem.headers, **({"x-request-id": problem.request_id} if problem.request_id else {})}
    return JSONResponse({"error": said}, problem.status, headers)


async def _whole(body: Body, limit: int) -> bytes:
    """
    Raises:
        BodyError: it is too large, or compressed.
        SenderGoneError: it ended before it was complete.
    """
    check_encoding(body)
    return await body.read(limit)


def _json_length(headers: Mapping[str, str]) -> int | None:
    """
    Raises:
        BodyError: it is no length.
    """
    given = headers.get(JSON_LENGTH)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 12):
        raise BodyError(400, "must be the length of the JSON in bytes", "Inference-Header-Content-Length")
    return int(given)


async def _index(body: Body) -> Message:
    data = await _whole(body, _MAX_INDEX_BYTES)
    try:
        document = json.loads(data.decode("utf-8-sig") or "{}")
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or type(document.get("ready", False)) is not bool:
        raise BodyError(400, "must be a JSON object; `ready` in it is true or false")
    return pb.RepositoryIndexRequest(ready=document.get("ready", False))
