"""`GET /api/status`, and what probes and load balancers ask."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from ferry.v1 import gateway_pb2
from gateway.http import examples
from gateway.http.answers import JSON, status_json
from gateway.http.calls import Door
from gateway.http.documents import problems


def router(door: Door, able: Callable[[], bool]) -> APIRouter:
    """
    Args:
        door: makes the calls.
        able: whether the gateway can answer at present.
    """
    routes = APIRouter(tags=["status"])

    @routes.get(
        "/api/status",
        summary="Which variants, models and versions serve at present",
        response_class=Response,
        responses={200: {"description": "What serves.", **examples.STATUS}, **problems(body=False)},
    )
    async def status(request: Request) -> Response:
        answer = await door.ask("GetStatus", request, gateway_pb2.GetStatusRequest())
        return Response(status_json(answer), media_type=JSON)

    @routes.get("/healthz", summary="Whether the process is well", response_class=PlainTextResponse)
    async def healthz() -> str:
        return "ok"

    @routes.get(
        "/readyz",
        summary="Whether requests can be answered",
        response_class=PlainTextResponse,
        responses={503: {"description": "Not at present.", "content": {"text/plain": {}}}},
    )
    async def readyz() -> Response:
        ready = door.calls.ready and able()
        return PlainTextResponse("ready" if ready else "not ready", 200 if ready else 503)

    return routes
