"""What is known of the request that is worked for: its id and its deadline, which travel on, and who asked."""

from __future__ import annotations

import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass

from serving.rpc.identity import ANONYMOUS, Identity

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"^[0-9A-Za-z._-]{8,64}$")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The request that the current task works for."""

    request_id: str
    deadline: float
    """time.monotonic() seconds."""
    caller: Identity = ANONYMOUS
    """Who sent it to this service; it does not travel on."""

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.deadline - time.monotonic())


current: ContextVar[RequestContext | None] = ContextVar("ferry_request", default=None)


def caller() -> Identity:
    """Who sent the current request."""
    context = current.get()
    return ANONYMOUS if context is None else context.caller


def request_id_from(value: str | bytes | None) -> str:
    """The caller's request id where it is a plain token of 8 to 64 characters, else a new one (32 hex digits)."""
    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
        return value
    return secrets.token_hex(16)


def deadline_after(seconds: float) -> float:
    """The earlier of `seconds` from now and the current request's deadline, as time.monotonic() seconds."""
    context = current.get()
    deadline = time.monotonic() + seconds
    return deadline if context is None else min(deadline, context.deadline)
