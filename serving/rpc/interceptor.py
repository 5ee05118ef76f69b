"""One interceptor around every call: who asks, request id, deadline, trace, metrics, and errors with details.

It is one and not a chain because each layer of a chain costs every call a task switch's worth of Python.
Health checks and reflection have no deadline to keep and nothing to measure; they are bounded as all others are.

Nothing of a body is received before its call is admitted: to gRPC every method takes a stream, which leaves to us when
a message is read. So whoever is refused sends nothing, and what is on its way in is counted (serving.rpc.receiving).
"""

from __future__ import annotations

import asyncio
import inspect
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
from serving.rpc.lanes import Lane, Lanes
from serving.rpc.limits import Kind, Limits
from serving.rpc.receiving import Receiving
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
        probes: Iterable[str] = (),
        lanes: Lanes | None = None,
        identify: Identify | None = None,
        certificates: bool = False,
    ) -> None:
        """
        Args:
            services: full names of gRPC services, such as `ferry.v1.Detector`.
            limits: of each kind of method.
            kinds: of methods (`/ferry.v1.Detector/Detect`) that are not what their streaming says.
            probes: methods of those services that say no more than health does, and are served as it is: while the
                service loads, to everybody, neither measured nor timed.
            lanes: bounds on open calls and on messages being received; None: the defaults.
            identify: given the metadata of a call, says who calls, or None where it does not say; raises a
                ServiceError where it is not to be served. None: nobody is asked.
            certificates: whether callers may show one.
        """
        self.ready = False
        self._services = frozenset(services)
        self._limits = limits
        self._kinds = kinds or {}
        self._probes = frozenset(probes)
        self._lanes = lanes or Lanes()
        self._identify = identify
        self._certificates = certificates
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method: str = handler_call_details.method
        probe = method in self._probes
        own = _service_of(method) in self._services and not probe
        lane = self._lanes.own if own else self._lanes.check if probe else self._lanes.aside(method)
        try:
            lane.calls.enter(asyncio.current_task())
            if own and not self.ready:
                raise RefusedError("the service is still loading its models; try again in a moment")
            if own and self._identify is not None:
                _named.set(self._identify(_texts(handler_call_details.invocation_metadata)))
        except ServiceError as error:
            return self._refusal(method, error) if own else _aside_refusal(error)
        known = self._wrapped.get(method)
        if known is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            known = self._wrapped[method] = self._wrap(handler, method) if own else _wrap_aside(handler, lane)
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
        codecs = {
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        requests_of = _requests_of(handler, self._lanes.own.receiving)
        if not handler.response_streaming:
            respond: Callable[[Any, Context], Awaitable[Any]] = (
                handler.stream_unary if handler.request_streaming else handler.unary_unary  # type: ignore[assignment]
            )

            async def unary(_: Any, context: Context) -> Any:
                answer = None  # what an error leaves; gRPC sends the status alone
                async with self._call(method, kind, context):
                    answer = await respond(await requests_of(context), context)
                return answer  # noqa: RET504  (an error ends the block above)

            return grpc.stream_unary_rpc_method_handler(unary, **codecs)

        stream_out: Callable[[Any, Context], AsyncGenerator[Any, None]] = (
            handler.stream_stream if handler.request_streaming else handler.unary_stream  # type: ignore[assignment]
        )

        # Writing here, and not yielding to gRPC's own loop, keeps sending inside this task: its deadline, its
        # cancellation and its context variables.
        async def stream(_: Any, context: Context) -> None:
            async with self._call(method, kind, context):
                responses = stream_out(await requests_of(context), context)
                async with aclosing(responses):
                    async for response in responses:
                        await context.write(response)

        return grpc.stream_stream_rpc_method_handler(stream, **codecs)

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
            refusal = _end(context, failure, (REQUEST_ID_KEY, request.request_id))
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


def _requests_of(handler: Handler, receiving: Receiving) -> Callable[[Context], Awaitable[Any]]:
    """What a handler takes in: its one request, or an iterator over its requests."""

    async def one(context: Context) -> Any:
        message = await receiving.read(context)
        if message is grpc.aio.EOF:
            raise InvalidArgumentError("request", "is missing: the call ended before a whole message had come")
        if isinstance(message, InvalidArgumentError):
            raise message
        return message

    async def every(context: Context) -> AsyncIterator[Any]:
        async for message in receiving.messages(context):
            if isinstance(message, InvalidArgumentError):
                raise message
            yield message

    async def iterator(context: Context) -> AsyncIterator[Any]:
        return every(context)

    return iterator if handler.request_streaming else one


def _wrap_aside(handler: Handler, lane: Lane) -> Handler:
    """A method of health or reflection: bounded, but neither measured nor timed."""
    codecs = {
        "request_deserializer": _tolerant(handler.request_deserializer),
        "response_serializer": handler.response_serializer,
    }
    requests_of = _requests_of(handler, lane.receiving)
    respond: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    async def serve(_: Any, context: Context) -> None:
        try:
            answers = respond(await requests_of(context), context)
            if inspect.isasyncgen(answers):
                async for answer in answers:
                    await context.write(answer)
                return
            answer = await answers
            if answer is not None:
                await context.write(answer)
        except ServiceError as error:
            _end(context, error)

    return grpc.stream_stream_rpc_method_handler(serve, **codecs)


def _aside_refusal(error: ServiceError) -> Handler:
    errors = [error]

    async def refuse(requests: Any, context: Context) -> None:
        _end(context, errors.pop())

    return grpc.stream_stream_rpc_method_handler(refuse)


def _service_of(method: str) -> str:
    return method[1:].partition("/")[0]


def _end(context: Context, failure: ServiceError, *metadata: tuple[str, str]) -> Awaitable[None] | None:
    """Makes `failure` the status of the call, or returns what will: a call that is refused has nothing but trailers,
    and that is what a caller's gRPC tries again elsewhere."""
    details = failure.to_status().SerializeToString()
    trailers = ((STATUS_DETAILS_KEY, details), *metadata)
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
