"""A request over HTTP as a call of the gateway's own methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from starlette.requests import HTTPConnection

from gateway.http.body import Body, SenderGoneError
from gateway.http.problems import BodyError, Problem, ProblemError, of_status
from gateway.http.waiting import Room, Waiting
from gateway.routing.hints import CALLER_KEY, VARIANT_KEY
from serving.rpc.context import REQUEST_ID_KEY, request_id_from
from serving.rpc.local import LocalCalls, LocalContext

SERVICE: Final = "ferry.v1.ExpressionRecognition"
_METADATA: Final = ("authorization", CALLER_KEY, VARIANT_KEY, "traceparent", "tracestate")
"""Headers that are a call's metadata, too."""

Read = Callable[[], Awaitable[Message]]
T = TypeVar("T")


class HttpContext(LocalContext):
    """Of one call that comes over HTTP.

    Attributes:
        request_id: names the call.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        messages: AsyncIterator[Message],
        body: Body | None = None,
        *,
        timeout: float | None = None,
        certificate: Mapping[str, Iterable[bytes]] | None = None,
        peer: str = "",
        closing: Callable[[], bool] | None = None,
        write: Callable[[Any], None] | None = None,
    ) -> None:
        """
        Args:
            headers: of the request.
            messages: what the caller sends.
            body: where they come from, if from a body.
            timeout: seconds that the caller allows.
            certificate: names of the caller's.
            peer: names the connection.
            closing: whether it is about to end, or has.
            write: takes each of several answers.
        """
        self.request_id = request_id_from(headers.get(REQUEST_ID_KEY))
        metadata = [(name, headers[name]) for name in _METADATA if name in headers]
        super().__init__(
            [(REQUEST_ID_KEY, self.request_id), *metadata], timeout=timeout, certificate=certificate, peer=peer
        )
        self._messages = messages
        self._body = body
        self._closing = closing
        self._write = write
        self._refusal: Problem | None = None
        self._slow = False

    async def read(self) -> Any:
        try:
            return await anext(self._messages, grpc.aio.EOF)
        except SenderGoneError:
            return grpc.aio.EOF
        except BodyError as error:
            # Not the error: its traceback holds this frame, and so a circle would keep the body.
            self._refusal = Problem(
                error.status, error.description, error.code.name, error.field, self.request_id, error.headers
            )
            raise

    def received(self) -> bool:
        return self._body is None or self._body.complete

    def gone(self) -> bool:
        return self._closing is not None and self._closing()

    def gave_way(self) -> None:
        self._slow = True

    async def write(self, message: Any) -> None:
        # Answers wait while their caller still sends, so that neither waits for the other.
        assert self._write is not None
        self._write(message)

    def problem(self, status: status_pb2.Status) -> Problem:
        """Why the call failed, as HTTP says it."""
        problem = of_status(status, self.request_id)
        refusal = self._refusal
        if refusal is not None and problem.code == "INVALID_ARGUMENT":
            return refusal
        late = problem.status == 504 and self._body is not None and not self._body.complete
        if late or (self._slow and problem.status == 429):
            return Problem(408, problem.detail, problem.code, "body", self.request_id, problem.headers)
        return problem


class Door:
    """Makes calls for requests."""

    def __init__(self, calls: LocalCalls, service: str = SERVICE) -> None:
        """
        Args:
            calls: of the gateway's methods.
            service: full name of the gRPC service that the methods are of.
        """
        self.calls = calls
        self._service = service
        self._room = Room()

    async def ask(
        self,
        method: str,
        request: HTTPConnection,
        read: Read | Message,
        body: Body | None = None,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer of a method that has one.

        Args:
            method: such as `Recognize`.
            request: over HTTP.
            read: makes the method's message, once the call is admitted; or the message.
            body: where it comes from.
            timeout: seconds that the caller allows.
            headers: in the place of those of the request.

        Raises:
            ProblemError: there is no answer.
        """
        context = _context(request, _once(read), body, timeout, headers)
        calling = asyncio.create_task(self.calls.call(f"/{self._service}/{method}", context))
        try:
            await _until_done(calling, body)
            if context.failure is not None:
                raise ProblemError(context.problem(context.failure))
            return calling.result()
        finally:
            del calling  # an error's traceback holds this frame, and the task the error

    async def ask_many(
        self,
        method: str,
        request: HTTPConnection,
        messages: AsyncIterator[Message],
        body: Body,
        *,
        encode: Callable[[Any], bytes],
        timeout: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The answers of a method that has many, as each is ready.

        Args:
            method: such as `RecognizeMany`.
            request: over HTTP.
            messages: of its body.
            body: where they come from.
            encode: makes bytes of an answer: these wait for the caller, and are counted.
            timeout: seconds that the caller allows.

        Raises:
            ProblemError: there are no more, for a reason.
        """
        answers = Waiting(self._room)
        context = _context(request, messages, body, timeout, None, write=lambda message: answers.put(encode(message)))
        calling = asyncio.create_task(self.calls.call(f"/{self._service}/{method}", context))
        calling.add_done_callback(lambda task: answers.end())
        watching = asyncio.create_task(_until_done(calling, body))
        try:
            while (answer := await answers.get()) is not None:
                yield answer
            await watching
        finally:
            watching.cancel()
            answers.close()
            await asyncio.gather(watching, return_exceptions=True)
            del watching, calling  # as above
        if context.failure is not None:
            raise ProblemError(context.problem(context.failure))


async def while_wanted(work: Coroutine[Any, Any, T], body: Body, timeout: float | None) -> T:
    """What `work` gives; it is cancelled where whoever sent `body` has left, or has no time left.

    Args:
        work: what is still to be done for a request after its call.
        body: all of it has come.
        timeout: seconds; None: it takes as long as it takes.

    Raises:
        ProblemError: nobody waits for it any more, or `work` raised it.
    """
    working = asyncio.create_task(work)
    try:
        async with asyncio.timeout(timeout):
            await _until_done(working, body)
    except TimeoutError as error:
        raise ProblemError(Problem(504, "no answer within the time that the request allows")) from error
    try:
        return working.result()
    finally:
        del working  # as above


def _context(
    request: HTTPConnection,
    messages: AsyncIterator[Message],
    body: Body | None,
    timeout: float | None,
    headers: Mapping[str, str] | None,
    *,
    write: Callable[[Any], None] | None = None,
) -> HttpContext:
    certificate = getattr(request.state, "certificate", None)
    peer = "" if request.client is None else f"{request.client.host}:{request.client.port}"
    return HttpContext(
        request.headers if headers is None else headers,
        messages,
        body,
        timeout=timeout,
        certificate=certificate,
        peer=peer,
        closing=getattr(request.state, "closing", None),
        write=write,
    )


async def _once(read: Read | Message) -> AsyncIterator[Message]:
    yield read if isinstance(read, Message) else await read()


async def _until_done(calling: asyncio.Task[Any], body: Body | None) -> None:
    """Returns when `calling` is done; it is cancelled where whoever asked has left, and with this task.

    Raises:
        ProblemError: whoever asked has left.
    """
    gone = None if body is None else asyncio.create_task(body.sender_gone())
    try:
        await asyncio.wait({calling, *([gone] if gone else ())}, return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            raise ProblemError(Problem(499, "the caller has left"))
    finally:
        if gone is not None:
            gone.cancel()
        calling.cancel()
        await asyncio.gather(calling, *([gone] if gone else ()), return_exceptions=True)
