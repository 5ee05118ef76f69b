"""What is around the work of one call: who asks, request id, deadline, trace, metrics, and what an error becomes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Any, TypeAlias

import grpc
from opentelemetry import context as trace_context
from opentelemetry import trace
from prometheus_client import Histogram

from ferry.transport import STATUS_DETAILS_KEY
from serving.errors import (
    DeadlineError,
    InvalidArgumentError,
    OverloadedError,
    RefusedError,
    ServiceError,
    UnimplementedError,
)
from serving.rpc import context as request_context
from serving.rpc.call_log import calls
from serving.rpc.context import REQUEST_ID_KEY, RequestContext
from serving.rpc.identity import Identity
from serving.rpc.limits import Limits
from serving.rpc.load_report import LoadReport
from serving.telemetry import metrics, tracing

log = logging.getLogger(__name__)

# A string: the class is generic in its stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_RETRY_SECONDS = 1.0
"""Until there may be memory again: other requests give theirs back."""


class Method:
    """What is known of a method before anybody calls it.

    Attributes:
        path: such as `/ferry.v1.Detector/Detect`.
        limits: on the time of a call.
        load: what callers are told with each answer; None: nothing.
    """

    def __init__(self, path: str, limits: Limits, load: LoadReport | None = None) -> None:
        self.path = path
        self.limits = limits
        self.load = load
        self.service, _, self.name = path[1:].partition("/")
        self._seconds: dict[grpc.StatusCode, Histogram] = {}

    def begin(self) -> None:
        """A call has begun; `observe` follows."""
        if self.load is not None:
            self.load.begin()

    def observe(self, status: grpc.StatusCode, seconds: float, work: float) -> None:
        """Counts a call that has ended.

        Args:
            status: its code.
            seconds: that it took.
            work: without its waits; 0: that is not known.
        """
        histogram = self._seconds.get(status)
        if histogram is None:
            histogram = metrics.RPC_SECONDS.labels(self.service, self.name, status.name)
            self._seconds[status] = histogram
        histogram.observe(seconds)
        if self.load is not None:
            self.load.end(status, work or seconds)


class Call:
    """A context around the work of one call; an error becomes the call's status and goes no further.

    A class and not a generator: it is on the way of every call, four times for an image.
    """

    __slots__ = (
        "_attached",
        "_caller",
        "_context",
        "_method",
        "_request",
        "_span",
        "_started",
        "_timer",
        "_token",
        "_wrong",
    )

    def __init__(self, method: Method, caller: Identity, context: Context) -> None:
        self._method = method
        self._caller = caller
        self._context = context

    async def __aenter__(self) -> None:
        self._started = time.monotonic()
        metadata = texts(self._context.invocation_metadata())
        timeout = self._method.limits.timeout(self._context.time_remaining())
        self._request = RequestContext(
            request_context.request_id_from(metadata.get(REQUEST_ID_KEY)),
            deadline=self._started + timeout,
            caller=self._caller,
            losses=request_context.losses_from(metadata),
        )
        self._token: Token[RequestContext | None] = request_context.current.set(self._request)
        self._span = self._attached = None
        self._wrong = ""
        if tracing.enabled():
            self._span = self._start_span(metadata)
            self._attached = trace_context.attach(trace.set_span_in_context(self._span))
        self._timer = asyncio.timeout(timeout)
        await self._timer.__aenter__()
        self._method.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            await self._timer.__aexit__(kind, error, traceback)
        except TimeoutError:
            error = DeadlineError(f"no answer within {self._timer_seconds():.3f} s")
        status = grpc.StatusCode.OK
        try:
            if error is None:
                trailer = None if self._method.load is None else self._method.load.trailer()
                if trailer is not None:
                    # Of a call that its caller has left no trailer can be set any more.
                    with suppress(grpc.aio.UsageError):
                        self._context.set_trailing_metadata((trailer,))
                return False
            if isinstance(error, asyncio.CancelledError):
                status = grpc.StatusCode.CANCELLED
                return False
            if isinstance(error, grpc.aio.AbortError):
                status = _code_of(self._context)
                return False
            if not isinstance(error, Exception):
                status = grpc.StatusCode.UNKNOWN
                return False
            failure = self._failure(error)
            status = failure.code
            self._wrong = failure.field if isinstance(failure, InvalidArgumentError) else ""
            refusal = end(self._context, failure, (REQUEST_ID_KEY, self._request.request_id))
            # This frame is part of the error's traceback: it must not keep the error.
            del failure, error
            if refusal is not None:
                await refusal
            return True
        finally:
            self._end(status)

    def _timer_seconds(self) -> float:
        return self._request.deadline - self._started

    def _failure(self, error: Exception) -> ServiceError:
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, MemoryError):
            log.error("no memory left in %s", self._method.path, exc_info=error)
            return OverloadedError("no memory left for this request; try again shortly", _RETRY_SECONDS)
        if isinstance(error, NotImplementedError):
            return UnimplementedError(f"{self._method.path[1:]} is not offered here")
        log.error("unexpected error in %s", self._method.path, exc_info=error)
        if self._span is not None:
            # The kind is enough: messages can quote what the caller sent.
            self._span.set_attribute("error.type", type(error).__name__)
        return ServiceError(f"internal error; look for request id {self._request.request_id} in the logs")

    def _end(self, status: grpc.StatusCode) -> None:
        seconds = time.monotonic() - self._started
        # Before the request's context goes: the line has its id.
        calls.ended(self._method.path, status, seconds, self._wrong)
        span = self._span
        if span is not None:
            if span.is_recording():
                span.set_attribute("rpc.grpc.status_code", int(status.value[0]))
                if status is not grpc.StatusCode.OK:
                    span.set_status(trace.StatusCode.ERROR, status.name)
            span.end()
        if self._attached is not None:
            trace_context.detach(self._attached)
        request_context.current.reset(self._token)
        self._method.observe(status, seconds, self._request.work.seconds)

    def _start_span(self, metadata: dict[str, str]) -> trace.Span:
        unsampled = tracing.unsampled(metadata)
        if unsampled is not None:
            return unsampled
        return tracing.tracer.start_span(
            self._method.path[1:],
            context=tracing.extract(metadata),
            kind=trace.SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": self._method.service,
                "rpc.method": self._method.name,
                "ferry.request_id": self._request.request_id,
            },
        )


def end(context: Context, failure: ServiceError, *metadata: tuple[str, str]) -> Awaitable[None] | None:
    """Makes `failure` the status of the call, or returns what will: a call that is refused has nothing but trailers,
    and that is what a caller's gRPC tries again elsewhere."""
    details = failure.to_status().SerializeToString()
    trailers = ((STATUS_DETAILS_KEY, details), *metadata)
    if isinstance(failure, RefusedError):
        return context.abort(failure.code, failure.message, trailers)
    # Not `abort`: gRPC would keep its exception, and through the traceback the request's bytes, in a cycle.
    with suppress(grpc.aio.UsageError):
        context.set_code(failure.code)
        context.set_details(failure.message)
        context.set_trailing_metadata(trailers)
    return None


def texts(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """A call's metadata, without what is binary."""
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def _code_of(context: Context) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
