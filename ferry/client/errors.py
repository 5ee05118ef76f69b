"""What can go wrong with a call: a few errors, each with what the caller needs to go on."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from ferry.transport import NOT_READY, OWN_END, STATUS_DETAILS_KEY
from ferry.v1 import gateway_pb2

_NO_SUCH_NAME = re.compile("DNS resolution|Name or service not known|Domain name not found|hostname lookup")
_NO_ANSWER = re.compile("attempt timed out|Timeout occurred|Deadline Exceeded", re.IGNORECASE)
_LONGEST = 60
"""Characters of a cause that gRPC names."""
_TOO_LARGE = "message larger than max"
"""How gRPC words its own refusal of a message by its size."""


class FerryError(Exception):
    """A call that has no answer; the base of those below.

    Attributes:
        code: name of the gRPC status, such as `INTERNAL`.
        request_id: names the call in the cluster's logs; empty where the call never left this process.
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN", request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class InvalidRequestError(FerryError):
    """The request is wrong, and stays wrong when repeated. `field` says where, such as `options.max_faces`."""

    def __init__(self, message: str, *, field: str, code: str = "INVALID_ARGUMENT", request_id: str = "") -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.field = field


class InvalidImageError(InvalidRequestError):
    """The image cannot be read: broken, too large, or not an image."""


class OverloadedError(FerryError):
    """The cluster has no room now. `retry_after` seconds is a fair time to come back; where that was half a second or
    less, and there was time for it, the call has come back by itself."""

    def __init__(
        self, message: str, *, retry_after: float, code: str = "RESOURCE_EXHAUSTED", request_id: str = ""
    ) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.retry_after = retry_after


class DeadlineError(FerryError):
    """The time was up before there was an answer."""


class UnavailableError(FerryError):
    """No gateway answers at the address, or the models behind it do not."""


class MismatchError(UnavailableError):
    """Somebody listens at the address, and the two ends do not get on: one of them speaks TLS and the other one does
    not, or they do not trust each other."""


_UNREACHED = re.compile("Connection refused|connection attempt timed out|tcp handshaker shutdown")
"""How gRPC says that it got no connection to an address."""
_HTTP_1 = re.compile("http1[.]x server|got frame type 80[^0-9]")
"""How gRPC says that somebody answered with HTTP/1: it knows, or takes the P of `HTTP` for the type of a frame."""
HIDDEN = "Internal error from Core"
"""How gRPC for asyncio words that it does not know."""


def is_unanswered(error: grpc.RpcError) -> bool:
    """Whether nobody has answered at all."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _details(error.trailing_metadata() or ()) is None


def is_unreached(error: grpc.RpcError) -> bool:
    """Whether there was nobody to send the call to, so that it has not left this process."""
    return is_unanswered(error) and _UNREACHED.search(error.details() or "") is not None


def is_turned_away(error: grpc.RpcError) -> bool:
    """Whether a gateway's gRPC ended the call, and neither the gateway nor who calls: where more than a thousand calls
    wait to be begun, it takes no more at random; and those that are open when a server stops, it ends so. The
    connection of a gateway that died ends with it, which is another error."""
    own = (error.details() or "").startswith(OWN_END)
    return error.code() is grpc.StatusCode.CANCELLED and not own and _details(error.trailing_metadata() or ()) is None


def is_hidden(error: grpc.RpcError) -> bool:
    """Whether gRPC for asyncio keeps how the call ended to itself: it does where the call ends while a message is sent,
    by whatever came from the gateway, or nothing. Seen with 4 of 10 calls that end while frames are sent on and on."""
    return error.code() is grpc.StatusCode.INTERNAL and HIDDEN in (error.details() or "") and not is_answer(error)


def is_answer(error: grpc.RpcError) -> bool:
    """Whether a gateway gave the error."""
    return _details(error.trailing_metadata() or ()) is not None


def from_rpc(error: grpc.RpcError, address: str, request_id: str, mistake: str | None = None) -> FerryError:
    """The error that a failed call to the gateway at `address` means.

    Args:
        error: gRPC's.
        address: as the caller gave it.
        request_id: of the call.
        mistake: why nobody has answered, where that is known.
    """
    code: grpc.StatusCode = error.code()
    message: str = error.details() or code.name
    details = _details(error.trailing_metadata() or ())
    if mistake is not None:
        return MismatchError(f"no call to {address} gets through: {mistake}", code=code.name, request_id=request_id)
    if code is grpc.StatusCode.UNAVAILABLE and details is None and _HTTP_1.search(message):
        return UnavailableError(
            f"{address} speaks HTTP/1.1; Ferry's clients need its gRPC port, 50051 unless --port said otherwise",
            code=code.name,
            request_id=request_id,
        )
    if code is grpc.StatusCode.UNAVAILABLE and details is None:
        return UnavailableError(
            f"no gateway answers at {address} ({_plain(message)}); start one with `ferry serve`, or give another "
            "address",
            code=code.name,
            request_id=request_id,
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and details is None and _TOO_LARGE in message:
        return InvalidImageError(
            f"the image is larger than the cluster takes ({message})",
            field="image",
            code=code.name,
            request_id=request_id,
        )
    if is_hidden(error):
        message = f"the call ended while it was sent, and gRPC does not tell how ({HIDDEN})"
    field, bad_request = "", error_details_pb2.BadRequest()
    for detail in () if details is None else details.details:
        if _is(detail, bad_request) and bad_request.field_violations:
            field = bad_request.field_violations[0].field
    after = retry_after(error)
    return _make(code, message, field=field, retry_after=1.0 if after is None else after, request_id=request_id)


def retry_after(error: grpc.RpcError) -> float | None:
    """Seconds after which a gateway wants the call again; None: it does not say."""
    status, info = _details(error.trailing_metadata() or ()), error_details_pb2.RetryInfo()
    for detail in () if status is None else status.details:
        if _is(detail, info):
            return float(info.retry_delay.ToMilliseconds() / 1000)
    return None


def refused(error: grpc.RpcError) -> bool:
    """Whether a gateway gave the error because it was not ready, before it began."""
    status, info = _details(error.trailing_metadata() or ()), error_details_pb2.ErrorInfo()
    return any(_is(detail, info) and info.reason == NOT_READY for detail in (() if status is None else status.details))


def from_item(error: gateway_pb2.ItemError, request_id: str) -> FerryError:
    """The error of one image of a batch."""
    code = next((c for c in grpc.StatusCode if c.value[0] == error.code), grpc.StatusCode.UNKNOWN)
    return _make(code, error.message or code.name, field=error.field, retry_after=1.0, request_id=request_id)


def _make(code: grpc.StatusCode, message: str, *, field: str, retry_after: float, request_id: str) -> FerryError:
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            kind = InvalidImageError if field.rpartition(".")[2] == "image" else InvalidRequestError
            return kind(message, field=field, request_id=request_id)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return OverloadedError(message, retry_after=retry_after, request_id=request_id)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(message, code=code.name, request_id=request_id)
        case grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(message, code=code.name, request_id=request_id)
        case _:
            return FerryError(message, code=code.name, request_id=request_id)


def _plain(message: str) -> str:
    """Of gRPC's chain of errors the last one, in short: what the system said."""
    if _NO_SUCH_NAME.search(message):
        return "the host's name is not known"
    if _NO_ANSWER.search(message):
        return "no answer in time"
    said = re.sub(r"\s*\([0-9]+\)$", "", re.split(r":\s*", message.strip())[-1])
    return textwrap.shorten(said, _LONGEST, placeholder="...")


def _is(detail: Any, message: Message) -> bool:
    """Whether a detail is of the kind of `message`, which it is read into; one that is broken is of none."""
    try:
        return bool(detail.Unpack(message))
    except DecodeError:
        return False


def _details(metadata: Iterable[Any]) -> status_pb2.Status | None:
    for key, value in metadata:
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
