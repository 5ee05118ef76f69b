"""The page at `/`: files of this package, with a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.http.problems import Problem

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS: Final = {
    "content-security-policy": _POLICY,
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def router(grpc_port: int, *, certificates: bool) -> APIRouter:
    """
    Args:
        grpc_port: that the page names in calls for programs.
        certificates: whether callers need one, which those calls name, too.
    """
    routes = APIRouter(include_in_schema=False)
    files = {
        path.name: (path.read_bytes(), _TYPES[path.name[path.name.rindex(".") :]])
        for path in (resources.files("gateway.http") / "page").iterdir()
        if path.name[path.name.rfind(".") :] in _TYPES
    }

    index_html, kind = files.pop("index.html")
    known = b'data-grpc-port="%d"%s' % (grpc_port, b" data-certificates" if certificates else b"")
    index_html = index_html.replace(b"<html ", b"<html %s " % known, 1)

    @routes.get("/")
    async def index(request: Request) -> Response:
        return _file(request, index_html, kind)

    @routes.get("/page/{name}")
    async def asset(request: Request, name: str) -> Response:
        if name not in files:
            return Problem(404, "there is nothing at this path").response()
        return _file(request, *files[name])

    return routes


def _file(request: Request, content: bytes, kind: str) -> Response:
    headers = {**HEADERS, "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)
