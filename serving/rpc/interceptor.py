"""One interceptor around every Ferry call: request id, deadline, trace, metrics, and errors with details.

It is one and not a chain because each layer of a chain costs every call a task switch's worth of Python.
Health checks and reflection pass untouched: they have no deadline to keep and nothing to measure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace

from serving.errors import DeadlineError, InvalidArgumentError, ServiceError, UnavailableError, UnimplementedError
from serving.rpc import context as request_context
from serving.rpc.context import REQUEST_ID_KEY, RequestContext
from serving.telemetry import metrics, tracing

log = logging.getLogger(__name__)

# Strings: the classes are generic in their stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_STATUS_DETAILS_KEY = "grpc-status-details-bin"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of package `ferry`.

    Attributes:
        ready: False while the service loads; calls are then answered UNAVAILABLE.
    """

    def __init__(
        self,
        default_timeout: float,
        max_timeout: float,
        authorize: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        """
        Args:
            default_timeout: seconds for a call whose caller sets no deadline.
            max_timeout: seconds no call may exceed, whatever its caller allows.
            authorize: given the metadata of a call, raises a ServiceError where it is not to be served; None: all are.
        """
        self.ready = False
        self._default_timeout = default_timeout
        self._max_timeout = max_timeout
        self._authorize = authorize
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method: str = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/ferry."):
            return handler
        self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Handler, method: str) -> Handler:
        parse = handler.request_deserializer
        codecs = {
            "request_deserializer": parse if handler.request_streaming else _tolerant(parse),
            "response_serializer": handler.response_serializer,
        }
        if not handler.response_streaming:
            respond: Callable[[Any, Context], Awaitable[Any]] = (
                handler.stream_unary if handler.request_streaming else handler.unary_unary  # type: ignore[assignment]
            )

            async def unary(request: Any, context: Context) -> Any:
                answer = None  # what an error leaves; gRPC sends the status alone
                async with self._call(method, context):
                    self._admit(request, context)
                    answer = await respond(request, context)
                return answer  # noqa: RET504  (an error ends the block above)

            if handler.request_streaming:
                return grpc.stream_unary_rpc_method_handler(unary, **codecs)
            return grpc.unary_unary_rpc_method_handler(unary, **codecs)

        stream_out: Callable[[Any, Context], AsyncGenerator[Any, None]] = (
            handler.stream_stream if handler.request_streaming else handler.unary_stream  # type: ignore[assignment]
        )

        # Writing here, and not yielding to gRPC's own loop, keeps sending inside this task: its deadline, its
        # cancellation and its context variables.
        async def stream(request: Any, context: Context) -> None:
            async with self._call(method, context):
                self._admit(request, context)
                async with aclosing(stream_out(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **codecs)
        return grpc.unary_stream_rpc_method_handler(stream, **codecs)

    def _admit(self, request: Any, context: Context) -> None:
        if not self.ready:
            raise UnavailableError("the service is still loading its models; try again in a moment")
        if self._authorize is not None:
            self._authorize(_texts(context))
        if isinstance(request, InvalidArgumentError):
            raise request

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        """Around the work of one call; an error becomes the call's status and goes no further."""
        started = time.monotonic()
        metadata = _texts(context)
        remaining = context.time_remaining()
        timeout = min(self._default_timeout if remaining is None else remaining, self._max_timeout)
        request = RequestContext(
            request_context.request_id_from(metadata.get(REQUEST_ID_KEY)), deadline=started + timeout
        )
        token = request_context.current.set(request)
        span = self._start_span(method, metadata, request)
        status = grpc.StatusCode.OK
        try:
            with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                try:
                    async with asyncio.timeout(timeout):
                        yield
                    return
                except ServiceError as error:
                    failure = error
                except TimeoutError:
                    failure = DeadlineError(f"no answer within {timeout:.3f} s")
                except asyncio.CancelledError:
                    status = grpc.StatusCode.CANCELLED
                    raise
                except grpc.aio.AbortError:
                    status = _code_of(context)
                    raise
                except NotImplementedError:
                    failure = UnimplementedError(f"{method[1:]} is not offered here")
                except Exception as error:
                    log.exception("unexpected error in %s", method)
                    # The kind is enough: messages can quote what the caller sent.
                    span.set_attribute("error.type", type(error).__name__)
                    failure = ServiceError(f"internal error; look for request id {request.request_id} in the logs")
            status = failure.code
            # Not `abort`: gRPC would keep its exception, and through the traceback the request's bytes, in a cycle.
            # For the same reason this frame, which is part of the error's traceback, must not keep the error.
            context.set_code(failure.code)
            context.set_details(failure.message)
            details = failure.to_status().SerializeToString()
            context.set_trailing_metadata(((_STATUS_DETAILS_KEY, details), (REQUEST_ID_KEY, request.request_id)))
            del failure
        finally:
            if span.is_recording():
                span.set_attribute("rpc.grpc.status_code", int(status.value[0]))
                if status is not grpc.StatusCode.OK:
                    span.set_status(trace.StatusCode.ERROR, status.name)
            span.end()
            request_context.current.reset(token)
            service, _, name = method[1:].partition("/")
            metrics.RPC_SECONDS.labels(service, name, status.name).observe(time.monotonic() - started)

    @staticmethod
    def _start_span(method: str, metadata: dict[str, str], request: RequestContext) -> trace.Span:
        if not tracing.enabled():
            return trace.INVALID_SPAN
        service, _, name = method[1:].partition("/")
        return tracing.tracer.start_span(
            method[1:],
            context=tracing.extract(metadata),
            kind=trace.SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": name,
                "ferry.request_id": request.request_id,
            },
        )


def _texts(context: Context) -> dict[str, str]:
    """A call's metadata, without what is binary."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _tolerant(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`parse`, but bytes that are no message become the error itself: gRPC's own shows our internals."""
    if parse is None:
        return None

    def tolerant(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return InvalidArgumentError("request", "is not a message of this method")

    return tolerant


def _code_of(context: Context) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
