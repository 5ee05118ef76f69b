"""`POST /api/predict-async` and `/api/jobs/{id}`: an image that is recognised later."""

from __future__ import annotations

import json
import re
from datetime import UTC
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import AfterValidator
from starlette.responses import Response

from ferry.v1 import gateway_pb2
from gateway.http import examples
from gateway.http.answers import JSON
from gateway.http.body import Body
from gateway.http.calls import Door
from gateway.http.documents import body_schema, problems
from gateway.http.messages import JsonImage, one_image
from gateway.http.options import JobOptions
from gateway.http.problems import of_item
from gateway.plain import recognition_json

_FORM = "[0-9a-f]{32}"


def _job_id(text: str) -> str:
    if not re.fullmatch(_FORM, text):
        raise ValueError("must be 32 hexadecimal digits, as /api/predict-async gave it")
    return text


JobId = Annotated[
    str,
    AfterValidator(_job_id),
    Path(
        description="As /api/predict-async gave it, 32 hexadecimal digits.",
        json_schema_extra={"pattern": f"^{_FORM}$"},
    ),
]
OnceKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=64,
        description="Names this submission: sent again with the same image it gives the same job.",
    ),
]
_STATE = "STATE_"


def router(door: Door, max_image_bytes: int) -> APIRouter:
    """
    Args:
        door: makes the calls.
        max_image_bytes: of an encoded image.
    """
    routes = APIRouter(tags=["jobs"])

    @routes.post(
        "/api/predict-async",
        status_code=202,
        summary="Put an image in the queue",
        response_class=Response,
        responses={202: {"description": "The job, to be asked for at `location`.", **examples.JOB}, **problems(501)},
        openapi_extra=body_schema(JsonImage, "image", many=False),
    )
    async def predict_async(request: Request, options: Annotated[JobOptions, Query()], once: OnceKey = "") -> Response:
        body = Body(request.scope, request.receive)
        read = partial(_submission, body, options, once, max_image_bytes)
        answer = await door.ask("SubmitJob", request, read, body, timeout=options.timeout)
        where = f"/api/jobs/{answer.job_id}"
        document = {"job_id": answer.job_id, "location": where}
        return Response(json.dumps(document), 202, {"location": where}, JSON)

    @routes.get(
        "/api/jobs/{job_id}",
        summary="How a job stands, with its result when it is done",
        response_class=Response,
        responses={200: {"description": "The job.", **examples.JOB_STATE}, **problems(404, 501)},
    )
    async def get_job(request: Request, job_id: JobId) -> Response:
        answer = await door.ask("GetJob", request, gateway_pb2.GetJobRequest(job_id=job_id))
        return Response(_job(job_id, answer), media_type=JSON)

    @routes.delete(
        "/api/jobs/{job_id}",
        status_code=204,
        summary="Stop a job that has not finished",
        response_class=Response,
        responses={204: {"description": "It is stopped."}, **problems(404, 501)},
    )
    async def cancel_job(request: Request, job_id: JobId) -> Response:
        await door.ask("CancelJob", request, gateway_pb2.CancelJobRequest(job_id=job_id))
        return Response(status_code=204)

    return routes


async def _submission(body: Body, options: JobOptions, once: str, max_image_bytes: int) -> gateway_pb2.SubmitJobRequest:
    image = await one_image(body, options, max_image_bytes)
    message = gateway_pb2.SubmitJobRequest(request=image, idempotency_key=once)
    if options.time_to_live is not None:
        message.time_to_live.FromMilliseconds(int(options.time_to_live * 1000))
    return message


def _job(job_id: str, answer: gateway_pb2.GetJobResponse) -> bytes:
    state = gateway_pb2.GetJobResponse.State.Name(answer.state).removeprefix(_STATE).lower()
    document: dict[str, Any] = {"job_id": job_id, "state": state}
    if answer.HasField("expire_time"):
        document["expire_time"] = answer.expire_time.ToDatetime(UTC).isoformat()
    if answer.HasField("error"):
        document["error"] = of_item(answer.error).document
    if answer.HasField("response"):
        document["result"] = json.loads(recognition_json(answer.response))
    return json.dumps(document).encode()
