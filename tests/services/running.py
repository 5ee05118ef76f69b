"""A service over real sockets, and its errors in a form that tests read easily."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ferry.transport import channel_options, internal_service_config
from serving.server import Server, Service
from serving.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a failed call told its caller."""

    code: grpc.StatusCode
    message: str
    field: str


@asynccontextmanager
async def serve(service: Service, settings: ServiceSettings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the running service."""
    server = Server(service, settings)
    await server.start()
    try:
        options = [
            *channel_options("test", internal_service_config(service.grpc_services[0])),
            ("grpc.enable_retries", 0),
        ]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            yield channel
    finally:
        await server.stop()


async def refusal(method: Callable[..., Awaitable[Any]], request: Any) -> Refusal:
    """How `method` refuses `request`.

    Raises:
        AssertionError: it answered.
    """
    try:
        answer = await method(request, timeout=30)
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        assert status is not None
        detail = error_details_pb2.BadRequest()
        found = any(packed.Unpack(detail) for packed in status.details)
        return Refusal(error.code(), error.details() or "", detail.field_violations[0].field if found else "")
    raise AssertionError(f"answered {str(answer)[:200]}")
