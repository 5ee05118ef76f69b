"""What is known of the request that is worked for: its id, its deadline and how many replicas it has cost, which travel
on, and who asked."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from ferry.transport import LOST_KEY
from serving.rpc.identity import ANONYMOUS, Identity

REQUEST_ID_KEY = "x-request-id"
_ATTEMPTS_KEY = "grpc-previous-rpc-attempts"
"""What gRPC adds to a call that it sends again by a caller's retry policy."""
_REQUEST_ID = re.compile(r"^[0-9A-Za-z._-]{8,64}$")


@dataclass(slots=True, eq=False)
class Losses:
    """How many replicas were lost while they worked on a request, over all hops that are known of. All that is done for
    one request shares one object.

    Attributes:
        count: that may have died of it.
    """

    count: int = 0


@dataclass(slots=True, eq=False)
class Work:
    """What it took this process to compute what a request asked for, without its waits. All that is done for one
    request shares one object."""

    seconds: float = 0.0
    """For each row of the model's runs; 0: it was in none."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The request that the current task works for."""

    request_id: str
    deadline: float
    """time.monotonic() seconds."""
    caller: Identity = ANONYMOUS
    """Who sent it to this service; it does not travel on."""
    losses: Losses = field(default_factory=Losses)
    work: Work = field(default_factory=Work)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.deadline - time.monotonic())


current: ContextVar[RequestContext | None] = ContextVar("ferry_request", default=None)


def request_id() -> str:
    """Of the current request; empty: there is none."""
    context = current.get()
    return "" if context is None else context.request_id


def caller() -> Identity:
    """Who sent the current request."""
    context = current.get()
    return ANONYMOUS if context is None else context.caller


def worked(seconds: float) -> None:
    """A run of a model took so long for each of its rows, of which the current request had some."""
    context = current.get()
    if context is not None:
        context.work.seconds = max(context.work.seconds, seconds)


def is_suspect() -> bool:
    """Whether a replica was lost while it worked on the current request, which may be what it was lost by."""
    context = current.get()
    return context is not None and context.losses.count > 0


def acquit() -> None:
    """What the current request's caller has lost cannot have died of it."""
    context = current.get()
    if context is not None:
        context.losses.count = 0


def request_id_from(value: str | bytes | None) -> str:
    """The caller's request id where it is a plain token of 8 to 64 characters, else a new one (32 hex digits)."""
    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
        return value
    return secrets.token_hex(16)


def losses_from(metadata: Mapping[str, str]) -> Losses:
    """What a call's metadata says of replicas that its request has cost.

    A caller's gRPC that sends a call again does not know whether the replica was lost or refused it: it counts as one.
    """
    counts = (metadata.get(key, "") for key in (LOST_KEY, _ATTEMPTS_KEY))
    return Losses(int(any(count.isascii() and count.isdigit() and int(count[:9]) > 0 for count in counts)))


def deadline_after(seconds: float) -> float:
    """The earlier of `seconds` from now and the current request's deadline, as time.monotonic() seconds."""
    context = current.get()
    deadline = time.monotonic() + seconds
    return deadline if context is None else min(deadline, context.deadline)
