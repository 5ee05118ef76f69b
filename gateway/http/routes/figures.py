"""`GET /api/figures`: what happens in the cluster at present."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from starlette.responses import Response

from ferry.v1 import gateway_pb2
from gateway.http import examples
from gateway.http.answers import JSON, status_json
from gateway.http.calls import Door
from gateway.http.documents import problems
from gateway.http.watch import Watch

_DESCRIPTION = (
    "The figures over `seconds`, and the status with them. 0 seconds: nobody has looked before; counts are those since "
    "each process began, and rates are null."
)


def router(door: Door, watch: Watch) -> APIRouter:
    """
    Args:
        door: makes the calls.
        watch: has the figures.
    """
    routes = APIRouter(tags=["status"])

    @routes.get(
        "/api/figures",
        summary="Rates, latencies, batches, queues and variants over the last seconds",
        response_class=Response,
        responses={
            200: {"description": _DESCRIPTION, **examples.FIGURES},
            **problems(body=False),
        },
    )
    async def figures(request: Request) -> Response:
        # Whoever may not ask for the status is told so here.
        status = await door.ask("GetStatus", request, gateway_pb2.GetStatusRequest())
        document = {**await watch.figures(), "status": json.loads(status_json(status))}
        return Response(json.dumps(document), media_type=JSON)

    return routes
