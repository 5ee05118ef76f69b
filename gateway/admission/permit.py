"""What a call asks for, and the permission to work on it, which learns how the work ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from serving.errors import ServiceError
from serving.rpc.identity import ANONYMOUS, Identity


@dataclass(frozen=True, slots=True)
class Call:
    """What one call asks for.

    Attributes:
        images: worked on at once, 1 or more.
        size: bytes of all its images.
        caller: who asks.
    """

    images: int
    size: int
    caller: Identity = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
        code: its status; CANCELLED where the caller left.
        seconds: from admission to the end.
        found: it says nothing of how long models take: the answer was kept, or none was asked.
    """

    code: grpc.StatusCode
    seconds: float
    found: bool = False


class Permit:
    """Permission to work on one call; the context is the work. It ends once, with what became of the call."""

    def __init__(self, call: Call, ended: Callable[[Call, Outcome], None]) -> None:
        """
        Args:
            call: what was asked for.
            ended: told at the end.
        """
        self.call = call
        self._ended = ended
        self._since = time.monotonic()
        self._found = False

    def found(self) -> None:
        """No model's answer was waited for: how long the call took says nothing of how long their work takes."""
        self._found = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended(self.call, Outcome(_code(error), time.monotonic() - self._since, self._found))


def _code(error: BaseException | None) -> grpc.StatusCode:
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, ServiceError):
        return error.code
    # Whoever closes a generator has left, too.
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.INTERNAL
