"""Calling another Ferry service: deadline, request id and trace context go along, errors come back as ServiceError."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import grpc
from opentelemetry import trace

import ferry
from ferry.tls import Tls
from ferry.transport import channel_options, target
from serving.errors import DeadlineError, ServiceError, UnavailableError, UpstreamError
from serving.rpc import context as request_context
from serving.rpc.context import REQUEST_ID_KEY
from serving.rpc.renewing import RenewingChannel
from serving.telemetry import tracing

ResponseT = TypeVar("ResponseT")
_MARGIN_SECONDS = 0.005
"""What a hop keeps of its deadline, to have time to say that the next one did not answer."""


_tls: Tls | None = None


def configure(tls: Tls | None) -> None:
    """Channels that this process opens from now on use these certificates; None: they are not encrypted."""
    global _tls
    _tls = tls


def open_channel(address: str, caller: str) -> grpc.aio.Channel:
    """A channel to every replica behind `address` (`host:port`), for the service named `caller`.

    Raises:
        TlsError: certificates are configured and do not fit.
    """
    where, options = target(address), channel_options(f"{caller}/{ferry.__version__}")
    if _tls is None:
        return grpc.aio.insecure_channel(where, options=options)
    channel = RenewingChannel(_tls, lambda credentials: grpc.aio.secure_channel(where, credentials, options=options))
    return cast(grpc.aio.Channel, channel)


async def call(
    method: Callable[..., grpc.aio.UnaryUnaryCall[Any, ResponseT]],
    request: Any,
    *,
    upstream: str,
    timeout: float,
) -> ResponseT:
    """Calls a unary method of a stub and waits no longer than `timeout` seconds or the request's own deadline.

    Args:
        method: such as `stub.Detect`.
        request: its message.
        upstream: name of the service called, for errors and spans.
        timeout: seconds.

    Raises:
        DeadlineError: the time was up.
        UnavailableError: no replica could be reached.
        UpstreamError: the service answered with any other error; its status is kept.
    """
    context = request_context.current.get()
    if context is not None:
        timeout = min(timeout, context.remaining() - _MARGIN_SECONDS)
        if timeout <= 0:
            raise DeadlineError(f"no time left to ask {upstream}")
    if not tracing.enabled():
        return await _invoke(method, request, upstream, timeout, _metadata(context))
    with tracing.tracer.start_as_current_span(
        f"call {upstream}",
        kind=trace.SpanKind.CLIENT,
        attributes={"rpc.system": "grpc", "server.address": upstream},
        # The code is enough: messages can quote what the caller sent.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            return await _invoke(method, request, upstream, timeout, _metadata(context))
        except ServiceError as error:
            span.set_status(trace.StatusCode.ERROR, error.code.name)
            raise
        except asyncio.CancelledError:
            span.set_status(trace.StatusCode.ERROR, "CANCELLED")
            raise
        except BaseException as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _metadata(context: request_context.RequestContext | None) -> tuple[tuple[str, str], ...]:
    pairs = tracing.inject()
    if context is not None:
        pairs[REQUEST_ID_KEY] = context.request_id
    return tuple(pairs.items())


async def _invoke(
    method: Callable[..., grpc.aio.UnaryUnaryCall[Any, ResponseT]],
    request: Any,
    upstream: str,
    timeout: float,
    metadata: tuple[tuple[str, str], ...],
) -> ResponseT:
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details() or error.code().name
        status = next((v for k, v in error.trailing_metadata() or () if k == "grpc-status-details-bin"), None)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            # A status of its own: the service did answer, that one behind it did not in the time it gave it.
            late = f"{upstream}: {details}" if status else f"{upstream} did not answer within {timeout:.3f} s"
            raise DeadlineError(late) from error
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
            raise UnavailableError(f"{upstream} is not reachable: {details}") from error
        raise UpstreamError(code, details, status if isinstance(status, bytes) else None) from error
