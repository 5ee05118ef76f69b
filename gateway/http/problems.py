"""Errors as HTTP tells them: problem details (RFC 9457) from the google.rpc.Status that every call ends with."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from google.rpc import code_pb2, error_details_pb2, status_pb2
from starlette.responses import Response

from ferry.v1 import gateway_pb2
from serving.errors import InvalidArgumentError

MEDIA_TYPE: Final = "application/problem+json"
_HTTP: Final[Mapping[int, int]] = {
    code_pb2.CANCELLED: 499,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.FAILED_PRECONDITION: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.ABORTED: 409,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DEADLINE_EXCEEDED: 504,
}
"""As google.rpc.Code's comments say; what is not here is 500."""
_RETRY_SECONDS: Final = 1
"""`Retry-After` of an answer that says to come back and not when."""
_FIELDS: Final[Mapping[str, str]] = {"requests": "images", "idempotency_key": "idempotency-key"}
"""What HTTP calls by another name than the contract."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no answer.

    Attributes:
        status: of HTTP.
        detail: what is wrong and what to do.
        code: of gRPC, such as `INVALID_ARGUMENT`; empty for what HTTP alone knows.
        field: what is wrong in the request, such as `max_faces`; empty where it is nothing in particular.
        request_id: names the request in the logs; empty where it came to no call.
        headers: that go with it.
    """

    status: int
    detail: str
    code: str = ""
    field: str = ""
    request_id: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The members of RFC 9457, and `code`, `field` and `request_id` where they say something."""
        more = {"code": self.code, "field": self.field, "request_id": self.request_id}
        return {
            "type": "about:blank",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail,
            **{name: value for name, value in more.items() if value},
        }

    def raw(self) -> bytes:
        """A whole response of HTTP/1.1, after which the connection is closed."""
        body = json.dumps(self.document).encode()
        head = (
            f"HTTP/1.1 {self.status} {_title(self.status)}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}"
        )
        return f"{head}\r\nconnection: close\r\n\r\n".encode() + body

    def response(self) -> Response:
        headers = {**self.headers, **({"x-request-id": self.request_id} if self.request_id else {})}
        return Response(json.dumps(self.document), self.status, headers, MEDIA_TYPE)


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class BodyError(InvalidArgumentError):
    """A body that cannot be taken, with the status that HTTP has for the reason, such as 413."""

    def __init__(self, status: int, description: str, field: str = "body", **headers: str) -> None:
        super().__init__(field, description)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def of_status(status: status_pb2.Status, request_id: str = "") -> Problem:
    """The problem that a call's status is."""
    http = _HTTP.get(status.code, 500)
    name, detail, headers = "", status.message, {}
    violations, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    seconds = _RETRY_SECONDS
    for packed in status.details:
        if packed.Unpack(violations) and violations.field_violations:
            name, detail = field_name(violations.field_violations[0].field), violations.field_violations[0].description
        elif packed.Unpack(retry):
            seconds = max(1, math.ceil(retry.retry_delay.ToMilliseconds() / 1000))
    if http in {429, 503}:
        headers["retry-after"] = str(seconds)
    if http == 401:
        headers["www-authenticate"] = "Bearer"
    return Problem(http, detail, code_name(status.code), name, request_id, headers)


def of_item(error: gateway_pb2.ItemError) -> Problem:
    """The problem of one image of many."""
    # Its message begins with the field, which a problem names apart.
    said = error.message.removeprefix(f"{error.field}: ") if error.field else error.message
    return Problem(_HTTP.get(error.code, 500), said, code_name(error.code), field_name(error.field))


def field_name(field: str) -> str:
    """A field of the contract by HTTP's name for it: options lie beside the image."""
    name = field.removeprefix("options.")
    return _FIELDS.get(name, name)


def code_name(number: int) -> str:
    """Of a gRPC status code."""
    return code_pb2.Code.Name(number) if number in code_pb2.Code.values() else "UNKNOWN"


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request" if status == 499 else "Error"
