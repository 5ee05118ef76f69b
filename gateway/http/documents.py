"""What OpenAPI says of bodies and problems, which FastAPI does not see: they are read under the gateway's bounds."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, TypeAdapter

import ferry
from ferry.client import results
from ferry.client.results import ClusterStatus, Recognition
from gateway.http import examples
from gateway.http.answers import ProblemDetails
from gateway.http.options import Options
from gateway.http.problems import MEDIA_TYPE

_REFERENCE: Final = "#/components/schemas/{model}"
_SAID: Final = {
    400: "Something in the request is wrong; `field` says what.",
    401: "The cluster asks for an API key: `Authorization: Bearer KEY`.",
    403: "The answer was another caller's, or the request comes from a page of another host.",
    404: "There is no such thing.",
    405: "The path has no such method.",
    406: "The picture cannot be drawn into; ask for JSON.",
    408: "The body did not come in time.",
    413: "The body, or an image in it, is too large.",
    415: "The body is of no type that is taken here.",
    429: "No room at present; `Retry-After` says when to come back.",
    431: "The headers are too large.",
    499: "The caller left.",
    500: "An error of the cluster's; `request_id` is in its logs.",
    501: "Not served by this version or these settings.",
    503: "Nothing can answer at present; `Retry-After` says when to come back.",
    504: "No answer in time.",
}
_ALWAYS: Final = (400, 401, 403, 405, 429, 431, 500, 503, 504)
_OF_BODIES: Final = (404, 408, 413, 415)
_DESCRIPTION: Final = """Facial expression recognition: a picture goes in; for every face come back its box, its
expression, calibrated probabilities, what each model said, and which model versions said it.

Boxes are in pixels of the upright image. Errors are problem details (RFC 9457). Headers of any request, all optional:
`Authorization: Bearer KEY` where the cluster asks for an API key; `X-Request-Id` (8 to 64 of 0-9 A-Z a-z . _ -) names
the request; `X-Ferry-Key` sends the same caller to the same variant; `X-Ferry-Variant` asks for a variant by name."""


def problems(*more: int, body: bool = True) -> dict[int | str, dict[str, Any]]:
    """The responses of an operation that are problems.

    Args:
        more: statuses besides those that any operation may have.
        body: whether it takes a body.
    """
    schema = {"$ref": _REFERENCE.format(model="Problem")}
    content = {MEDIA_TYPE: {"schema": schema, "example": examples.PROBLEM}}
    statuses = sorted({*_ALWAYS, *(_OF_BODIES if body else ()), *more})
    return {status: {"description": _SAID[status], "content": content} for status in statuses}


def body_schema(model: type[BaseModel], field: str, *, many: bool) -> dict[str, Any]:
    """Of an operation that takes images.

    Args:
        model: of the JSON.
        field: of the form, that holds the file or files.
        many: whether there may be several.
    """
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    options = {name: _plain(schema) for name, schema in _schema(Options)["properties"].items()}
    files = {"type": "array", "items": file, "minItems": 1, "maxItems": 256} if many else file
    form = {"type": "object", "required": [field], "properties": {**options, field: files}}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": form},
        "application/json": {
            "schema": {"$ref": _REFERENCE.format(model=model.__name__)},
            "example": examples.JSON_IMAGES if many else examples.JSON_IMAGE,
        },
    }
    if not many:
        content |= {kind: {"schema": file} for kind in ("image/jpeg", "image/png", "application/octet-stream")}
    return {"requestBody": {"required": True, "content": content}}


def json_schema(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Of an operation that takes JSON alone."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _schema(model), "example": example}},
        }
    }


def openapi(app: FastAPI, *models: type[BaseModel]) -> dict[str, Any]:
    """The whole document; takes a tenth of a second.

    Args:
        app: with its routes.
        models: of bodies.
    """
    for class_ in vars(results).values():
        if dataclasses.is_dataclass(class_):
            # Words: what stands below each attribute.
            cast(Any, class_).__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    document = get_openapi(title="Ferry", version=ferry.__version__, description=_DESCRIPTION, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["security"] = [{}, {"ApiKey": []}]
    document["components"]["securitySchemes"] = {"ApiKey": {"type": "http", "scheme": "bearer"}}
    named: list[tuple[str, Any]] = [(model.__name__, model) for model in models]
    for name, model in (*named, ("Problem", ProblemDetails), ("Recognition", Recognition), ("Status", ClusterStatus)):
        schema = TypeAdapter(model).json_schema(ref_template=_REFERENCE, mode="validation")
        schemas |= schema.pop("$defs", {})
        schemas[name] = schema
    return document


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=_REFERENCE)


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the null of JSON, which a form cannot say."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if not kinds:
        return schema
    return {**{name: value for name, value in schema.items() if name not in {"anyOf", "default"}}, **kinds[0]}
