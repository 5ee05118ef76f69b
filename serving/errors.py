"""The few errors that a caller can meet, each with the gRPC status and the details that help.

Raise these anywhere below a servicer; the server interceptor turns them into rich statuses.
"""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ferry.transport import NOT_READY

MAX_MESSAGE_CHARACTERS = 500
"""Messages and details travel in trailing metadata, which clients bound: by default 8 KiB for all of it."""


DOMAIN = "ferry"
REFUSED = NOT_READY
LOST = "REPLICA_LOST"
"""Domain and reasons of google.rpc.ErrorInfo."""


def _short(text: str) -> str:
    # Halves of characters, which a message may quote, no status can hold.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


class ServiceError(Exception):
    """An error with a gRPC status; the base of those below."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = _short(message)

    @property
    def suspect(self) -> bool:
        """Whether the request may be what replicas were lost by: nobody is to try it again."""
        return False

    def details(self) -> list[Message]:
        """Messages of google.rpc.error_details that go into the status."""
        return []

    def to_status(self) -> status_pb2.Status:
        """The google.rpc.Status for the trailing metadata `grpc-status-details-bin`."""
        packed = []
        for detail in self.details():
            packed.append(Any())
            packed[-1].Pack(detail)
        return status_pb2.Status(code=code_pb2.Code.Value(self.code.name), message=self.message, details=packed)


def violation(error: ServiceError) -> tuple[str, str]:
    """Field and description of what is wrong in a request, as an error of whatever service says; empty where it does
    not say."""
    found = error_details_pb2.BadRequest()
    for detail in error.to_status().details:
        if detail.Unpack(found) and found.field_violations:
            return found.field_violations[0].field, found.field_violations[0].description
    return "", ""


class InvalidArgumentError(ServiceError):
    """The request is wrong; `field` names where, such as `options.max_faces`."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = _short(field)
        self.description = _short(description)

    def details(self) -> list[Message]:
        violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.description)
        return [error_details_pb2.BadRequest(field_violations=[violation])]


class NotFoundError(ServiceError):
    """A model, a version or a job that is not there."""

    code = grpc.StatusCode.NOT_FOUND


class UnauthenticatedError(ServiceError):
    """The caller did not say who it is, or nobody knows it."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(ServiceError):
    """The caller is known, and may not do that."""

    code = grpc.StatusCode.PERMISSION_DENIED


class OverloadedError(ServiceError):
    """No room now; `retry_after` seconds is a fair time to come back."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def details(self) -> list[Message]:
        delay = Duration()
        delay.FromMilliseconds(max(1, int(self.retry_after * 1000)))
        return [error_details_pb2.RetryInfo(retry_delay=delay)]


class DeadlineError(ServiceError):
    """The caller's time was up before there was an answer."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnimplementedError(ServiceError):
    """A method of the contract that this service does not offer."""

    code = grpc.StatusCode.UNIMPLEMENTED


class UnavailableError(ServiceError):
    """A service behind this one does not answer; trying again may help."""

    code = grpc.StatusCode.UNAVAILABLE


class AwayError(UnavailableError):
    """No replica of a service behind this one takes calls; it has not been asked."""


class RefusedError(UnavailableError):
    """This replica has not begun to work on the call, since it is loading or stopping, or finds nobody who would do it;
    another one may take it."""

    def details(self) -> list[Message]:
        return [error_details_pb2.ErrorInfo(reason=REFUSED, domain=DOMAIN)]


class LostError(ServiceError):
    """Replicas were lost one after the other while they worked on this request. It may be what they were lost by, so
    nobody tries it again: the status is none that callers repeat."""

    @property
    def suspect(self) -> bool:
        return True

    def details(self) -> list[Message]:
        return [error_details_pb2.ErrorInfo(reason=LOST, domain=DOMAIN)]


class UpstreamError(ServiceError):
    """What a service behind this one said, passed on with its own status and details."""

    def __init__(self, code: grpc.StatusCode, message: str, status: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self._status = status

    @classmethod
    def turned_away(cls) -> UpstreamError:
        """For an end of which nobody says anything: gRPC ends so what comes just when a server stops, and some of
        thousands of calls that wait to be begun; rarely one that a server which stops has not done in its grace."""
        refusal = RefusedError("it turned the call away, since it is stopping or has too much to do")
        return cls(refusal.code, refusal.message, refusal.to_status().SerializeToString())

    @property
    def suspect(self) -> bool:
        return self.reason == LOST

    @property
    def reason(self) -> str:
        """Of google.rpc.ErrorInfo in its details, such as REFUSED; empty where there is none."""
        info = error_details_pb2.ErrorInfo()
        return next((info.reason for detail in self.to_status().details if detail.Unpack(info)), "")

    def to_status(self) -> status_pb2.Status:
        if self._status is not None:
            try:
                return status_pb2.Status.FromString(self._status)
            except DecodeError:
                self._status = None
        return super().to_status()
