"""What OpenAPI says of `/v2`. The protocol's own specification has the details."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.responses import Response

from gateway.http.problems import MEDIA_TYPE
from gateway.inference_v2.models import IMAGE

_PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
_OBJECT: Final[dict[str, Any]] = {"type": "object"}
_ERRORS: Final = {
    400: "Something in the question is wrong; `error` says what.",
    401: "The cluster asks for an API key: `Authorization: Bearer KEY`.",
    403: "The request comes from a page of another host.",
    404: "There is no such model, version or path, or the model is not ready.",
    405: "The path has no such method.",
    408: "The body did not come in time.",
    413: "The body, or an image in it, is too large.",
    415: "The body is compressed.",
    429: "No room at present; `Retry-After` says when to come back.",
    431: "The headers are too large.",
    499: "The caller left.",
    500: "An error of the cluster's.",
    501: "Not served by this version.",
    503: "Nothing can answer at present.",
    504: "No answer in time.",
}
_TENSOR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": ["BYTES"]},
        "parameters": _OBJECT,
        "data": {"type": "array", "items": {"type": "string"}},
    },
}
INFER_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "parameters": _OBJECT,
                    "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
                    "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                },
            },
            "example": {
                "inputs": [
                    {
                        "name": IMAGE,
                        "shape": [1],
                        "datatype": "BYTES",
                        "parameters": {"content_type": "base64"},
                        "data": [_PIXEL],
                    }
                ]
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
"""JSON, or JSON and then bytes (the extension binary_tensor_data)."""
INDEX_BODY: Final[dict[str, Any]] = {
    "required": False,
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
            "example": {"ready": True},
        }
    },
}


def described(
    summary: str, path: str = "", *, body: dict[str, Any] | None = None, binary: bool = False
) -> dict[str, Any]:
    """Arguments of a route.

    Args:
        summary: what it does.
        path: with its parameters in braces.
        body: that it takes.
        binary: whether an answer may be bytes.
    """
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    contents = {"application/json": {"schema": _OBJECT}, MEDIA_TYPE: {"schema": _OBJECT}}
    good: dict[str, Any] = {"application/json": {"schema": {}}}
    if binary:
        good["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    responses: dict[int | str, dict[str, Any]] = {200: {"description": "The answer.", "content": good}}
    responses |= {
        status: {"description": said, "content": {**contents, "application/json": {"schema": error}}}
        if status != 404
        else {"description": said, "content": contents}
        for status, said in _ERRORS.items()
    }
    extra: dict[str, Any] = {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"\{(\w+)\}", path)
        ]
    }
    if body is not None:
        extra["requestBody"] = body
    return {
        "summary": summary,
        "response_class": Response,
        "responses": responses,
        "openapi_extra": extra,
        "operation_id": re.sub(r"\W+", "_", f"v2 {summary} {path}").strip("_").lower(),
    }
