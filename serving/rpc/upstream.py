"""Calling another Ferry service: deadline, request id and trace context go along, errors come back as ServiceError.

Retries are made here and not by gRPC's retry policy, which would multiply over the hops and does not know why a call
failed. gRPC itself only repeats what has never reached a replica. Of the rest,

- what a replica refused before it began (it loads or stops) is sent to another one, a few times;
- what a replica was lost with is sent once more, and only once on the whole way through the cluster, because it may be
  what the replica was lost by; on each hop one is not counted that only fell silent, as with its node, or that looks
  into no pictures;
- what a replica says nothing to for much longer than others take (serving.rpc.silence) is sent once more, too, over
  fresh connections, which only replicas get that say they are well; the first answer counts;
- every other error is an answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, TypeVar, cast

import grpc
from opentelemetry import trace

import ferry
from ferry.tls import Tls
from ferry.transport import (
    LEAST_PING_PATIENCE,
    NO_PROXY,
    OWN_END,
    SILENT,
    STATUS_DETAILS_KEY,
    channel_options,
    internal_service_config,
    target,
)
from serving.errors import REFUSED, AwayError, DeadlineError, LostError, ServiceError, UnavailableError, UpstreamError
from serving.rpc import context as request_context
from serving.rpc.asked import Asked, Method, Sent
from serving.rpc.context import Losses
from serving.rpc.fresh_channel import FreshChannel
from serving.rpc.readiness import Readiness
from serving.rpc.renewing import RenewingChannel
from serving.rpc.same_process import LocalChannel, is_local
from serving.rpc.silence import Silence
from serving.rpc.wasted import Wasted
from serving.telemetry import metrics, tracing

log = logging.getLogger(__name__)

ResponseT = TypeVar("ResponseT")

_MARGIN_SECONDS = 0.005
"""What a hop keeps of its deadline, to have time to say that the next one did not answer."""
_RESERVE_SHARE, _MAX_RESERVE_SECONDS = 0.1, 0.25
"""What it keeps of it while it waits for a replica, to have time to say that there is none."""
_LAST_SHARE, _LAST_SECONDS = 0.05, 0.1
"""What must be left of its time for a call that was refused to be sent again: else it ends with why it was refused,
while its caller still waits. So does one that is worked on, where most of its time had gone by before."""
_MAX_REFUSALS = 5
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.05, 0.5
"""Between two refusals, doubled each time."""
DEFAULT_SILENCE = 2.5
"""Seconds that a replica may say nothing before its caller asks another one."""

_tls: Tls | None = None


def configure(tls: Tls | None) -> None:
    """Channels that this process opens from now on use these certificates; None: they are not encrypted."""
    global _tls
    _tls = tls


def _open_channel(address: str, caller: str, health_service: str) -> FreshChannel:
    where = target(address)
    options = channel_options(
        f"{caller}/{ferry.__version__}", internal_service_config(health_service), ping_patience=LEAST_PING_PATIENCE
    )
    options.append(NO_PROXY)
    if _tls is None:
        return FreshChannel(lambda: grpc.aio.insecure_channel(where, options=options))
    return RenewingChannel(_tls, lambda credentials: grpc.aio.secure_channel(where, credentials, options=options))


class Upstream:
    """Every replica of one service behind an address. Belongs to the event loop that makes it.

    Attributes:
        channel: to make stubs of.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str,
        health_service: str,
        caller: str,
        silence: float = DEFAULT_SILENCE,
        decodes: bool = True,
    ) -> None:
        """
        Args:
            address: `host:port`, what else ferry.transport.target takes, or `local:NAME`, a service of this process.
            name: of the service called, for errors, spans and metrics, such as `detector`.
            health_service: full name of its gRPC service, such as `ferry.v1.Detector`.
            caller: name of the service that calls.
            silence: seconds, at least, that a replica may say nothing before a call with patience asks another one.
            decodes: whether it looks into pictures. One that does not is not lost by one, so that the first that is
                lost is held against no request.

        Raises:
            TlsError: certificates are configured and do not fit.
        """
        self._fresh = None if is_local(address) else _open_channel(address, caller, health_service)
        self.channel = cast(grpc.aio.Channel, self._fresh or LocalChannel(address))
        self._silence = Silence(silence)
        self._name = name
        self._decodes = decodes
        self._readiness = Readiness(self.channel)
        self._retried, self._given_up, self._left_out = (
            metrics.SUSPECTS.labels(name, result) for result in ("retried", "given_up", "left_out")
        )

    @property
    def away(self) -> bool:
        """Whether calls wait for a replica, or fail since there is none."""
        return self._readiness.away

    async def close(self) -> None:
        self._readiness.close()
        await self.channel.close()

    async def call(
        self,
        method: Method[ResponseT],
        request: Any,
        *,
        timeout: float,
        patience: float = 0.0,
        again: bool = True,
    ) -> ResponseT:
        """Calls a unary method of a stub and waits no longer than `timeout` seconds or the request's own deadline.

        Args:
            method: such as `stub.Detect`.
            request: its message.
            timeout: seconds.
            patience: seconds that there may have been no replica before the call fails; until then it waits for one. 0:
                only a replica that is there is asked, and only once.
            again: whether another replica is asked where the first was lost with the request, which may be what it was
                lost by. False: its caller can do without an answer.

        Raises:
            DeadlineError: the time was up.
            UnavailableError: no replica could be reached, or none was ready; AwayError where none was even asked.
            LostError: a replica was lost while it worked on the request, and no other one is asked.
            UpstreamError: the service answered with any other error, or what is no answer; its status is kept.
        """
        context = request_context.current.get()
        if context is not None:
            timeout = min(timeout, context.remaining() - _MARGIN_SECONDS)
            if timeout <= 0:
                raise DeadlineError(f"no time left to ask {self._name}")
        losses = Losses() if context is None else context.losses
        asked = Asked(method, request, time.monotonic() + timeout, patience, losses, again)
        if not tracing.recording():
            return await self._ask(asked)
        with tracing.tracer.start_as_current_span(
            f"call {self._name}",
            kind=trace.SpanKind.CLIENT,
            attributes={"rpc.system": "grpc", "server.address": self._name},
            # The code is enough: messages can quote what the caller sent.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await self._ask(asked)
            except ServiceError as error:
                span.set_status(trace.StatusCode.ERROR, error.code.name)
                raise
            except asyncio.CancelledError:
                span.set_status(trace.StatusCode.ERROR, "CANCELLED")
                raise
            except BaseException as error:
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise

    async def _ask(self, asked: Asked[ResponseT]) -> ResponseT:
        refusals, lost, wasted = 0, False, Wasted()
        last = asked.end - min((asked.end - time.monotonic()) * _LAST_SHARE, _LAST_SECONDS)
        while True:
            came = time.monotonic()
            await self._replica(asked)
            began = time.monotonic()
            wasted.note(began - came, "")
            # That the time is up says nothing where less is left than went by so: its caller hears why in time.
            late = wasted.seconds > asked.end - began
            if late:
                asked.end = last
            try:
                return await self._attempt(asked)
            except DeadlineError as error:
                if late or (wasted.refusal and wasted.seconds > time.monotonic() - began):
                    absence = f"{self._name} was not reachable for {wasted.seconds:.2f} s"
                    raise UnavailableError(wasted.refusal or absence) from error
                raise
            except _GoneError as error:
                if asked.patience == 0:
                    raise UnavailableError(f"{self._name} is not reachable: {error}") from error
                # With a node several replicas fall silent at once, on every hop, which no request does; and who looks
                # into no pictures does not die of one. So the first is held against no request.
                silent = SILENT in str(error)
                if lost or not asked.again or not (silent or not self._decodes):
                    self._count_loss(asked, error, last=lost and not silent and not self._decodes)
                else:
                    log.warning("a replica of %s was lost, and another is asked: %s", self._name, error, extra=_extra())
                lost = True
                # gRPC may still take the connection of who died for one that lives, and lose the next call on it too.
                if self._fresh is not None:
                    self._fresh.reopen(began)
            except UpstreamError as error:
                if error.reason != REFUSED:
                    raise
                refusals += 1
                refusal = f"{self._name} is not ready: {error.message}"
                wasted.note(time.monotonic() - began, refusal)
                pause = min(_FIRST_PAUSE_SECONDS * 2**refusals, _MAX_PAUSE_SECONDS) * random.uniform(0.5, 1)
                if asked.patience == 0 or refusals > _MAX_REFUSALS or last - time.monotonic() <= pause:
                    raise UnavailableError(refusal) from error
                await asyncio.sleep(pause)

    async def _replica(self, asked: Asked[Any]) -> None:
        """Waits for one that takes calls.

        Raises:
            AwayError: there is none.
        """
        reserve = min((asked.end - time.monotonic()) * _RESERVE_SHARE, _MAX_RESERVE_SECONDS)
        if not await self._readiness.wait(asked.patience, asked.end - reserve):
            raise AwayError(f"{self._name} is not reachable: there is no replica that takes calls")

    def _count_loss(self, asked: Asked[Any], reason: _GoneError, *, last: bool = False) -> None:
        """
        Args:
            asked: what it was lost with.
            reason: of the loss.
            last: nobody is asked again, since one that does not count was lost before.

        Raises:
            LostError: it is not the first, or nobody is to be asked again.
        """
        asked.losses.count += 1
        first = asked.losses.count == 1 and not last
        if first and asked.again:
            self._retried.inc()
            return
        (self._left_out if first else self._given_up).inc()
        if first:
            said = "a replica of %s was lost with this request, left to others: %s"
            log.warning(said, self._name, reason, extra=_extra())
        else:
            said = "given up: replicas were lost with this request, now of %s: %s"
            log.error(said, self._name, reason, extra=_extra())
        which = "" if first else ", and is not the first"
        raise LostError(f"{self._name} was lost while it worked on this request{which}; not tried again")

    async def _attempt(self, asked: Asked[ResponseT]) -> ResponseT:
        """
        Raises:
            _GoneError: the connection ended after the call had been sent.
            ServiceError: as `call`.
        """
        began = time.monotonic()
        sent = asked.send(asked.end - began)
        if self._fresh is None or asked.patience == 0 or asked.losses.count:
            # What comes without patience is asked once; what may have cost a replica already costs no further one.
            return await self._answer(sent, asked.end - began)
        another: list[asyncio.Task[ResponseT]] = []
        timer = asyncio.get_running_loop().call_later(
            self._silence.seconds,
            lambda: another.append(asyncio.ensure_future(self._another(asked, sent, began))),
        )
        try:
            answer = await self._answer(sent, asked.end - began)
        except (ServiceError, _GoneError, asyncio.CancelledError) as error:
            if not another or _is_an_answer(error) or _cancelled():
                raise
            return await another[0]
        finally:
            timer.cancel()
            if another:
                another[0].cancel()
                await asyncio.gather(*another, return_exceptions=True)
                another.clear()  # an error's traceback holds this frame, and the task the error
        self._silence.learn(time.monotonic() - began)
        return answer

    async def _answer(self, sent: Sent[ResponseT], timeout: float) -> ResponseT:
        """Of a call that was sent with so many seconds.

        Raises:
            As _attempt.
        """
        try:
            answer = await sent
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or error.code().name
            status = next((v for k, v in error.trailing_metadata() or () if k == STATUS_DETAILS_KEY), None)
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                # A status of its own: the service did answer, that one behind it did not in the time it gave it.
                late = f"{self._name}: {details}" if status else f"{self._name} did not answer within {timeout:.3f} s"
                raise DeadlineError(late) from error
            if code is grpc.StatusCode.CANCELLED and status is None and not details.startswith(OWN_END):
                raise UpstreamError.turned_away() from error
            if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED} and status is None:
                raise _GoneError(details) from error
            raise UpstreamError(code, details, status if isinstance(status, bytes) else None) from error
        if answer is None:  # what gRPC makes of bytes that are no message
            raise UpstreamError(grpc.StatusCode.INTERNAL, f"{self._name} gave an answer that is no message")
        return answer

    async def _another(self, asked: Asked[ResponseT], silent: Sent[ResponseT], began: float) -> ResponseT:
        """Asks once more, over fresh connections. An answer ends the call that was sent at `began`, which has none.

        Raises:
            As _attempt.
        """
        assert self._fresh is not None
        if self._fresh.reopen(began):
            log.warning("%s says nothing: its replicas are asked anew whether they are well", self._name)
        asked.losses.count += 1
        self._retried.inc()
        await self._replica(asked)
        timeout = asked.end - time.monotonic()
        try:
            answer = await self._answer(asked.send(timeout), timeout)
        except _GoneError as error:
            self._count_loss(asked, error)
            raise
        except UpstreamError as error:
            if _is_an_answer(error):
                silent.cancel()
            raise
        silent.cancel()
        return answer


def _is_an_answer(error: BaseException) -> bool:
    """Whether a replica made something of the call, and not only the way to it failed."""
    return isinstance(error, UpstreamError) and error.reason != REFUSED


def _extra() -> dict[str, str]:
    """Of a line of the log."""
    return {"request_id": request_context.request_id()}


def _cancelled() -> bool:
    """Whether the current task is, and not only a call that it made."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _GoneError(Exception):
    """The connection has ended without a status from the service."""
