"""The application: routes, and how errors and headers look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.http.answers import JSON
from gateway.http.calls import Door
from gateway.http.documents import openapi
from gateway.http.messages import JsonImage, JsonImages
from gateway.http.options import first_fault
from gateway.http.origin import Origins
from gateway.http.problems import Problem, ProblemError
from gateway.http.routes import feedback, figures, inference_v2, jobs, live, page, predict, status
from gateway.http.watch import Watch
from gateway.settings import GatewaySettings
from serving.inference_v2.servicer import SERVICE
from serving.rpc.local import LocalCalls
from serving.telemetry import metrics
from serving.units import size_text

MAX_HEADER_BYTES = 16 << 10
_UNKNOWN = "unknown"
_VERSIONS = frozenset({"1.0", "1.1"})
_CLOSE = {"connection": "close"}
_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NOT_KEPT = (b"cache-control", b"no-store")
"""What is said of faces stays in no browser's or proxy's cache; files of the page say otherwise."""


def create_app(
    settings: GatewaySettings, calls: LocalCalls, able: Callable[[], bool], scrape_pool: Executor
) -> ASGIApp:
    """
    Args:
        settings: of the gateway.
        calls: of its methods.
        able: whether it can answer at present.
        scrape_pool: where other processes are asked for their metrics.
    """
    # A redirect would lead to an address that the caller's own `Host` makes up, and out of TLS behind a proxy.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    door = Door(calls)
    for router in (
        predict.router(door, settings.max_image_bytes, settings.max_timeout),
        jobs.router(door, settings.max_image_bytes),
        feedback.router(door),
        status.router(door, able),
        figures.router(door, Watch([*filter(None, settings.metrics_endpoints.split(","))], scrape_pool)),
        live.router(door, settings.max_stream_age, keys=settings.api_keys is not None),
        inference_v2.router(Door(calls, SERVICE), settings.max_image_bytes, able),
    ):
        app.include_router(router)
    if settings.http_page:
        app.include_router(page.router(settings.grpc_public_port, certificates=settings.tls_ca is not None))
    one_at_a_time = asyncio.Lock()
    document = cache(lambda: json.dumps(openapi(app, JsonImage, JsonImages)))

    @app.get("/openapi.json", include_in_schema=False)
    async def describe() -> Response:
        # Made when somebody asks: it would take a tenth of every start, and would hold up other calls.
        async with one_at_a_time:
            return Response(await asyncio.to_thread(document), media_type=JSON)

    app.router.default = _nothing_there
    # Coroutines: each answer of a function would take a thread, which the event loop would start.
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    origins = Origins(settings.host, settings.http_hosts, keys=settings.api_keys is not None)
    return Guard(app, origins)


class Guard:
    """Around every request: the bound on headers, whose page it comes from, headers that keep browsers careful, and a
    count."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and (said := self._origins.refusal(_texts(scope))):
            await WebSocket(scope, receive, send).send_denial_response(Problem(403, said).response())
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *_SAFE]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(_NOT_KEPT)
                message["headers"] = headers
                route = getattr(scope.get("route"), "path", _UNKNOWN)
                metrics.HTTP_RESPONSES.labels(route, str(message["status"])).inc()
            await send(message)

        if scope["method"] == "HEAD":
            # What reads answers to it, and the server leaves the body out.
            scope = {**scope, "method": "GET"}
        problem = self._refusal(scope)
        app = self._app if problem is None else _told(problem, scope["path"])
        await app(scope, receive, counted)

    def _refusal(self, scope: Scope) -> Problem | None:
        """Why a request is not even looked at; None where it is."""
        names = {name for name, _ in scope["headers"]}
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if scope["http_version"] not in _VERSIONS:
            return Problem(505, "this port speaks HTTP/1.1; gRPC has a port of its own", headers=_CLOSE)
        if size + len(scope["raw_path"]) + len(scope["query_string"]) > MAX_HEADER_BYTES:
            return Problem(431, f"path and headers are larger than {size_text(MAX_HEADER_BYTES)}")
        if names >= _LENGTHS:
            # Where a proxy in front takes the other one of them, the rest of the body is a request of its own.
            return Problem(400, "send Content-Length or Transfer-Encoding, not both", headers=_CLOSE)
        if said := self._origins.refusal(_texts(scope)):
            return Problem(403, said)
        return None


def _texts(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        refusal = Problem(404, "there is no WebSocket at this path; /api/live is one").response()
        await WebSocket(scope, receive, send).send_denial_response(refusal)
        return
    raise HTTPException(404)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.problem.response()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    where, said = first_fault(error.errors())
    # What it is found in (query, path) comes first.
    problem = Problem(400, said, "INVALID_ARGUMENT", where.partition(".")[2] or "request")
    return _told(problem, request.url.path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is nothing at this path", 405: "the path has no such method"}
    detail = said.get(error.status_code) or HTTPStatus(error.status_code).phrase
    return _told(Problem(error.status_code, detail, headers=dict(error.headers or {})), request.url.path)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _told(Problem(500, "internal error; it is in the gateway's log"), request.url.path)


def _told(problem: Problem, path: str) -> Response:
    """In the form of the protocol that a path belongs to."""
    if path == inference_v2.PREFIX or path.startswith(f"{inference_v2.PREFIX}/"):
        return inference_v2.told_of(problem)
    return problem.response()
