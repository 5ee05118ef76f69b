"""One interceptor around every call: who asks, request id, deadline, trace, metrics, and errors with details.

It is one and not a chain because each layer of a chain costs every call a task switch's worth of Python.
Health checks and reflection have no deadline to keep and nothing to measure; they are bounded as all others are.

Nothing of a body is received before its call is admitted: to gRPC every method takes a stream, which leaves to us when
a message is read. So whoever is refused sends nothing, and what is on its way in is counted (serving.rpc.receiving).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from serving import memory
from serving.errors import InvalidArgumentError, RefusedError, ServiceError
from serving.rpc import fields
from serving.rpc.call import Call, Context, Method, end, texts
from serving.rpc.identity import ANONYMOUS, Identity, of_certificate
from serving.rpc.lanes import Lane, Lanes
from serving.rpc.limits import Kind, Limits
from serving.rpc.load_report import LoadReport

# Strings: the classes are generic in their stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Identify: TypeAlias = "Callable[[Mapping[str, str]], Identity | None]"
_named: ContextVar[Identity | None] = ContextVar("ferry_named", default=None)
"""Who the metadata of the call in this task named; gRPC runs interceptors and handler in one task."""


_REFLECTION = "/grpc.reflection."
MAX_METADATA_BYTES = 16 << 10
"""Of one call, counted as HTTP/2 counts them (RFC 9113, section 6.5.2)."""
_ENTRY_BYTES = 32


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
        compared: str = "",
        lanes: Lanes | None = None,
        identify: Identify | None = None,
        foresee: Mapping[str, Callable[[], None]] | None = None,
        certificates: bool = False,
    ) -> None:
        """
        Args:
            services: full names of gRPC services, such as `ferry.v1.Detector`.
            limits: of each kind of method.
            kinds: of methods (`/ferry.v1.Detector/Detect`) that are not what their streaming says.
            probes: methods of those services that say no more than health does, and are served as it is: while the
                service loads, to everybody, neither measured nor timed.
            compared: the method by whose time callers compare replicas (serving.rpc.load_report); empty: none.
            lanes: bounds on open calls and on messages being received; None: the defaults.
            identify: given the metadata of a call, says who calls, or None where it does not say; raises a
                ServiceError where it is not to be served. None: nobody is asked.
            foresee: of methods that take one message and give one: called within the call, before its message is
                received; raises a ServiceError where the call would be refused with it.
            certificates: whether callers may show one.
        """
        self.ready = False
        self._services = frozenset(services)
        self._limits = limits
        self._kinds = kinds or {}
        self._probes = frozenset(probes)
        self._compared = compared
        self._lanes = lanes or Lanes()
        self._identify = identify
        self._foresee = foresee or {}
        self._certificates = certificates
        self._wrapped: dict[str, tuple[Handler, Lane]] = {}
        self._methods: dict[tuple[str, Kind], Method] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method: str = handler_call_details.method
        probe = method in self._probes
        own = _service_of(method) in self._services and not probe
        known = self._wrapped.get(method)
        if known is None:
            # What does not exist is told so before anything is kept or measured by its name, which anybody can make up.
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            aside = self._lanes.check if probe else self._lanes.aside(method)
            known = self._wrap(handler, method) if own else (_wrap_aside(handler, aside), aside)
            self._wrapped[method] = known
        wrapped, lane = known
        try:
            lane.calls.enter(asyncio.current_task())
            _check_metadata(handler_call_details.invocation_metadata or ())
            if own and not self.ready:
                raise _not_ready()
            # What is offered is told to those alone who may use it.
            if (own or method.startswith(_REFLECTION)) and self._identify is not None:
                _named.set(self._identify(texts(handler_call_details.invocation_metadata)))
        except ServiceError as error:
            return self._refusal(method, error) if own else _aside_refusal(error)
        return wrapped

    async def answer(
        self, method: str, respond: Callable[[Any, Any], Awaitable[Any]], request: Any, context: Context
    ) -> Any:
        """A unary call whose message is here already (serving.rpc.same_process): its answer, or None where an error
        became the status of `context`.

        Raises:
            grpc.aio.AbortError: the service is not ready.
        """
        answer = None
        async with self._call(method, Kind.UNARY, context):
            if not self.ready:
                raise _not_ready()
            answer = await respond(request, context)
        return answer  # noqa: RET504  (an error ends the block above)

    def _refusal(self, method: str, error: ServiceError) -> Handler:
        """Answers with `error` and receives nothing, whatever the method takes."""
        # Given away when it is raised: the frame that raises an error must not keep it.
        errors = [error]

        async def refuse(requests: Any, context: Context) -> None:
            async with self._call(method, Kind.UNARY, context):
                raise errors.pop()

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _wrap(self, handler: Handler, method: str) -> tuple[Handler, Lane]:
        streams = {"request_streaming": handler.request_streaming, "response_streaming": handler.response_streaming}
        kind = self._kinds.get(method) or Kind.of(**streams)
        codecs = {
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": _unless_done(handler.response_serializer),
        }
        lane = self._lanes.streams if kind is Kind.STREAM else self._lanes.own
        requests_of = _requests_of(handler, lane)
        foresee = self._foresee.get(method)
        if not handler.response_streaming:
            respond: Callable[[Any, Context], Awaitable[Any]] = (
                handler.stream_unary if handler.request_streaming else handler.unary_unary  # type: ignore[assignment]
            )

            async def unary(_: Any, context: Context) -> Any:
                answer = None  # what an error leaves; gRPC sends the status alone
                lane.calls.begin(context)
                async with self._call(method, kind, context):
                    if foresee is not None:
                        foresee()
                    answer = await respond(await requests_of(context), context)
                lane.calls.sending()
                return answer

            return grpc.stream_unary_rpc_method_handler(unary, **codecs), lane

        stream_out: Callable[[Any, Context], AsyncGenerator[Any, None]] = (
            handler.stream_stream if handler.request_streaming else handler.unary_stream  # type: ignore[assignment]
        )

        # Writing here, and not yielding to gRPC's own loop, keeps sending inside this task: its deadline, its
        # cancellation and its context variables.
        async def stream(_: Any, context: Context) -> None:
            lane.calls.begin(context)
            async with self._call(method, kind, context), lane.seat(context):
                responses = stream_out(await requests_of(context), context)
                async with aclosing(responses):
                    async for response in responses:
                        await _write(response, context, lane)
                        lane.heard(context)
            lane.calls.sending()

        return grpc.stream_stream_rpc_method_handler(stream, **codecs), lane

    def _call(self, method: str, kind: Kind, context: Context) -> Call:
        """Around the work of one call; an error becomes the call's status and goes no further."""
        known = self._methods.get((method, kind))
        if known is None:
            load = LoadReport() if method == self._compared else None
            known = self._methods[method, kind] = Method(method, self._limits[kind], load)
        return Call(known, self._caller(context), context)

    def _caller(self, context: Context) -> Identity:
        named = _named.get()
        if named is not None:
            return named
        return of_certificate(context.auth_context()) if self._certificates else ANONYMOUS


def _requests_of(handler: Handler, lane: Lane) -> Callable[[Context], Awaitable[Any]]:
    """What a handler takes in: its one request, or an iterator over its requests."""

    async def one(context: Context) -> Any:
        message = await lane.receiving.read(context)
        if message is grpc.aio.EOF:
            raise InvalidArgumentError("request", "is missing: the call ended before a whole message had come")
        return message

    async def every(context: Context) -> AsyncIterator[Any]:
        async for message in lane.receiving.messages(context):
            lane.heard(context)
            yield message

    async def iterator(context: Context) -> AsyncIterator[Any]:
        return every(context)

    return iterator if handler.request_streaming else one


async def _write(answer: Any, context: Context, lane: Lane) -> None:
    """One of several answers, counted as unread until gRPC has sent it."""
    lane.calls.sending()
    await context.write(answer)
    lane.calls.sent()


def _wrap_aside(handler: Handler, lane: Lane) -> Handler:
    """A method of health or reflection: bounded, but neither measured nor timed."""
    codecs = {
        "request_deserializer": _tolerant(handler.request_deserializer),
        "response_serializer": handler.response_serializer,
    }
    requests_of = _requests_of(handler, lane)
    respond: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    async def serve(_: Any, context: Context) -> None:
        lane.calls.begin(context)
        try:
            async with lane.seat(context):
                answers = respond(await requests_of(context), context)
                if inspect.isasyncgen(answers):
                    async for answer in answers:
                        await _write(answer, context, lane)
                    return
                answer = await answers
                if answer is not None:
                    await _write(answer, context, lane)
        except ServiceError as error:
            end(context, error)
        finally:
            lane.calls.sending()

    return grpc.stream_stream_rpc_method_handler(serve, **codecs)


def _aside_refusal(error: ServiceError) -> Handler:
    errors = [error]

    async def refuse(requests: Any, context: Context) -> None:
        end(context, errors.pop())

    return grpc.stream_stream_rpc_method_handler(refuse)


def _check_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> None:
    if sum(len(key) + len(value) + _ENTRY_BYTES for key, value in metadata) > MAX_METADATA_BYTES:
        raise InvalidArgumentError("metadata", f"have more than {MAX_METADATA_BYTES >> 10} KiB")


def _not_ready() -> RefusedError:
    return RefusedError("the service is still loading its models; try again in a moment")


def _service_of(method: str) -> str:
    return method[1:].partition("/")[0]


def _tolerant(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`parse`, but bytes that are no message become the error itself, which is raised where the message is read
    (serving.rpc.receiving): gRPC's own shows our internals."""
    if parse is None:
        return None

    of = fields.descriptor_of(parse)

    def tolerant(data: bytes) -> Any:
        memory.received(len(data))
        if excess := fields.excess(data, of):
            return InvalidArgumentError("request", f"has more than {excess}")
        try:
            return parse(data)
        except DecodeError:
            return InvalidArgumentError("request", "is not a message of this method")

    return tolerant


def _unless_done(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """`serialize`, but an answer that is bytes is a message already."""
    if serialize is None:
        return None

    def serialized(answer: Any) -> bytes:
        return answer if type(answer) is bytes else serialize(answer)

    return serialized
