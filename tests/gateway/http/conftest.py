"""Gateways that speak HTTP, before a fake ensembler, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from serving.telemetry import metrics
from tests.gateway.conftest import StartGateway
from tests.gateway.fakes import Gateway
from tests.processes import free_port

RAW = {"content-type": "image/jpeg"}


@dataclass
class Http:
    """A gateway, and a client of its HTTP port."""

    gateway: Gateway
    client: httpx.AsyncClient
    port: int

    async def predict(self, image: bytes, **more: Any) -> httpx.Response:
        return await self.client.post("/api/predict", content=image, headers={**RAW, **more.pop("headers", {})}, **more)


StartHttp = Callable[..., Awaitable[Http]]


@pytest.fixture
async def start_http(start_gateway: StartGateway) -> AsyncIterator[StartHttp]:
    """Starts gateways; settings as keywords."""
    # A gateway shows the verdicts of its own process too, where other tests have judged.
    metrics.VERDICT.clear()
    metrics.VERDICT_WORSE.clear()
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Http:
            gateway = await start_gateway(http_port=free_port(), **settings)
            port = gateway.service.http_port
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
            return Http(gateway, await stack.enter_async_context(client), port)

        yield start


@pytest.fixture
async def http(start_http: StartHttp) -> Http:
    """With default settings."""
    return await start_http()


@asynccontextmanager
async def metrics_of(page: str) -> AsyncIterator[int]:
    """Another process, whose metrics are `page`; yields their port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\ncontent-length: {len(page)}\r\n\r\n{page}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that `response` is, with `status`."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document
