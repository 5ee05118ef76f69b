"""Answers over HTTP, as JSON."""

from __future__ import annotations

import json
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from ferry.client import convert
from ferry.client.results import ClusterStatus
from ferry.v1 import gateway_pb2
from gateway.http.problems import Problem, of_item
from gateway.plain import recognition_json

JSON: Final = "application/json"
_STATUS: Final = TypeAdapter(ClusterStatus)


class ProblemDetails(BaseModel):
    """Why there is no answer (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Always about:blank: the status says which kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="Of HTTP.", ge=400, le=599)
    detail: str = Field(description="What is wrong and what to do.")
    code: str | None = Field(default=None, description="The gRPC status, such as INVALID_ARGUMENT.")
    field: str | None = Field(default=None, description="What is wrong in the request, such as max_faces.")
    request_id: str | None = Field(default=None, description="Names the request in the logs.")


def recognition_response(message: gateway_pb2.RecognizeResponse) -> Response:
    """The answer to one image."""
    return Response(recognition_json(message), headers={"x-request-id": message.request_id}, media_type=JSON)


def line(message: gateway_pb2.RecognizeManyResponse) -> bytes:
    """One line of the answers to a batch."""
    if message.WhichOneof("result") == "response":
        return b'{"index":%d,"result":%s}\n' % (message.index, recognition_json(message.response))
    return b'{"index":%d,"error":%s}\n' % (message.index, json.dumps(of_item(message.error).document).encode())


def problem_line(problem: Problem) -> bytes:
    """The last line of a batch that went wrong on its way."""
    return b'{"error":%s}\n' % json.dumps(problem.document).encode()


def status_json(message: gateway_pb2.GetStatusResponse) -> bytes:
    """What serves at present; of a variant that is not healthy also the reason."""
    status = convert.status(message)
    document = _STATUS.dump_python(status, mode="json", fallback=dict, warnings=False)
    for variant, told in zip(status.variants, document["variants"], strict=True):
        told["reason"] = variant.reason
    return json.dumps(document).encode()
