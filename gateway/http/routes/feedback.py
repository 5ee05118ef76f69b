"""`POST /api/feedback`: what the expression of a face really was."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from ferry.v1 import gateway_pb2, types_pb2
from gateway.http import examples
from gateway.http.body import Body
from gateway.http.calls import Door
from gateway.http.documents import json_schema, problems
from gateway.http.options import body_error
from gateway.http.problems import BodyError

_MAX_BYTES = 4 << 10


class FeedbackBody(BaseModel):
    """A label for a face of an earlier answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Feedback")

    request_id: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="Of the answer.")
    face_index: Annotated[int, Field(ge=0, le=255)] = Field(description="Position of the face in the answer.")
    expression: Literal["angry", "disgust", "fear", "happy", "neutral", "sad", "surprised"] = Field(
        description="What it really was."
    )


def router(door: Door) -> APIRouter:
    """
    Args:
        door: makes the calls.
    """
    routes = APIRouter(tags=["feedback"])

    @routes.post(
        "/api/feedback",
        status_code=204,
        summary="Label a face of an earlier answer, to judge variants by",
        response_class=Response,
        responses={204: {"description": "It is taken."}, **problems(403, 404, 501)},
        openapi_extra=json_schema(FeedbackBody, examples.FEEDBACK),
    )
    async def feedback(request: Request) -> Response:
        body = Body(request.scope, request.receive)
        await door.ask("SubmitFeedback", request, partial(_feedback, body), body)
        return Response(status_code=204)

    return routes


async def _feedback(body: Body) -> gateway_pb2.SubmitFeedbackRequest:
    if body.media_type != "application/json":
        raise BodyError(415, "send application/json", "content-type")
    try:
        found = FeedbackBody.model_validate_json(await body.read(_MAX_BYTES))
    except ValidationError as error:
        raise body_error(error) from error
    expression = types_pb2.Expression.Value(f"EXPRESSION_{found.expression.upper()}")
    return gateway_pb2.SubmitFeedbackRequest(
        request_id=found.request_id, face_index=found.face_index, expression=expression
    )
