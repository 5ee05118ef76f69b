"""One interceptor around every call: who asks, request id, deadline, trace, metrics, and errors with details.

It is one and not a chain because each layer of a chain costs every call a task switch's worth of Python.
Health checks and reflection pass untouched: they have no deadline to keep and nothing to measure.

Who asks is found before the body is received: gRPC reads a message only when it has a handler for it, and a caller that
is to be refused gets one that reads none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace

from ferry.transport import STATUS_DETAILS_KEY
from serving.errors import DeadlineError, InvalidArgumentError, RefusedError, ServiceError, UnimplementedError
from serving.rpc import context as request_context
from serving.rpc.context import REQUEST_ID_KEY, RequestContext
from serving.rpc.identity import ANONYMOUS, Identity, of_certificate
from serving.rpc.limits import Kind, Limits
from serving.telemetry import metrics, tracing

log = logging.getLogger(__name__)

# Strings: the classes are generic in their stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Identify: TypeAlias = "Callable[[Mapping[str, str]], Identity | None]"
_named: ContextVar[Identity | None] = ContextVar("ferry_named", default=None)
"""Who the metadata of the call in this task named; gRPC runs interceptors and handler in one task."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the methods of the services that it is told of.

    Attributes:
        ready: False while the service loads; calls are then refused, so that callers ask another replica.
    """

    def __init__(
        self,
        services: Iterable[str],
        limits: Mapping[Kind, Limits],
        *,
        kinds: Mapping[str, Kind] | None = None,
        identify: Identify | None = None,
        certificates: bool = False,
    ) -> None:
        """
        Args:
            services: full names of gRPC services, such as `ferry.v1.Detector`.
            limits: of each kind of method.
            kinds: of methods (`/ferry.v1.Detector/Detect`) that are not what their streaming says.
            identify: given the metadata of a call, says who calls, or None where it does not say; raises a
                ServiceError where it is not to be served. None: nobody is asked.
            certificates: whether callers may show one.
        """
        self.ready = False
        self._services = frozenset(services)
        self._limits = limits
        self._kinds = kinds or {}
        self._identify = identify
        self._certificates = certificates
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method: str = handler_call_details.method
        if _service_of(method) not in self._services:
            return await continuation(handler_call_details)
        if not self.ready:
            return self._refusal(method, RefusedError("the service is still loading its models; try again in a moment"))
        if self._identify is not None:
            try:
                _named.set(self._identify(_texts(handler_call_details.invocation_metadata)))
            except ServiceError as error:
                return self._refusal(method, error)
        known = self._wrapped.get(method)
        if known is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            known = self._wrapped[method] = self._wrap(handler, method)
        return known

    def _refusal(self, method: str, error: ServiceError) -> Handler:
        """Answers with `error` and receives nothing, whatever the method takes."""
        # Given away when it is raised: the frame that raises an error must not keep it.
        errors = [error]

        async def refuse(requests: Any, context: Context) -> None:
            async with self._call(method, Kind.UNARY, context):
                raise errors.pop()

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _wrap(self, handler: Handler, method: str) -> Handler:
        streams = {"request_streaming": handler.request_streaming, "response_streaming": handler.response_streaming}
        kind = self._kinds.get(method) or Kind.of(**streams)
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
                async with self._call(method, kind, context):
                    _check(request)
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
            async with self._call(method, kind, context):
                _check(request)
                async with aclosing(stream_out(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **codecs)
        return grpc.unary_stream_rpc_method_handler(stream, **codecs)

    @asynccontextmanager
    async def _call(self, method: str, kind: Kind, context: Context) -> AsyncIterator[None]:
        """Around the work of one call; an error becomes the call's status and goes no further."""
        started = time.monotonic()
        metadata = _texts(context.invocation_metadata())
        timeout = self._limits[kind].timeout(context.time_remaining())
        request = RequestContext(
            request_context.request_id_from(metadata.get(REQUEST_ID_KEY)),
            deadline=started + timeout,
            caller=self._caller(context),
            losses=request_context.losses_from(metadata),
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
            refusal = _end(context, failure, request)
            # This frame is part of the error's traceback: it must not keep the error.
            del failure
            if refusal is not None:
                await refusal
        finally:
            if span.is_recording():
                span.set_attribute("rpc.grpc.status_code", int(status.value[0]))
                if status is not grpc.StatusCode.OK:
                    span.set_status(trace.StatusCode.ERROR, status.name)
            span.end()
            request_context.current.reset(token)
            service, _, name = method[1:].partition("/")
            metrics.RPC_SECONDS.labels(service, name, status.name).observe(time.monotonic() - started)

    def _caller(self, context: Context) -> Identity:
        named = _named.get()
        if named is not None:
            return named
        return of_certificate(context.auth_context()) if self._certificates else ANONYMOUS

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


def _service_of(method: str) -> str:
    return method[1:].partition("/")[0]


def _check(request: Any) -> None:
    """
    Raises:
        InvalidArgumentError: what came is no message.
    """
    if isinstance(request, InvalidArgumentError):
        raise request


def _end(context: Context, failure: ServiceError, request: RequestContext) -> Awaitable[None] | None:
    """Makes `failure` the status of the call, or returns what will: a call that is refused has nothing but trailers,
    and that is what a caller's gRPC tries again elsewhere."""
    details = failure.to_status().SerializeToString()
    trailers = ((STATUS_DETAILS_KEY, details), (REQUEST_ID_KEY, request.request_id))
    if isinstance(failure, RefusedError):
        return context.abort(failure.code, failure.message, trailers)
    # Not `abort`: gRPC would keep its exception, and through the traceback the request's bytes, in a cycle.
    context.set_code(failure.code)
    context.set_details(failure.message)
    context.set_trailing_metadata(trailers)
    return None


def _texts(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """A call's metadata, without what is binary."""
    return {key: value for key, value in metadata or () if isinstance(value, str)}


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
