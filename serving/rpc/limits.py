"""How long a call may take, by the kind of its method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from serving.settings import ServiceSettings


class Kind(StrEnum):
    """What a method asks of a server.

    A unary call is one question; a batch is many, answered as each is ready, and ends by itself; a stream lives for as
    long as its caller likes.
    """

    UNARY = "unary"
    BATCH = "batch"
    STREAM = "stream"

    @staticmethod
    def of(*, request_streaming: bool, response_streaming: bool) -> Kind:
        """The kind of a method of which nothing else is said."""
        if request_streaming and response_streaming:
            return Kind.STREAM
        return Kind.BATCH if request_streaming or response_streaming else Kind.UNARY


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one kind of method.

    Attributes:
        default_timeout: seconds for a call whose caller sets no deadline.
        max_timeout: seconds no call may exceed, whatever its caller allows.
    """

    default_timeout: float
    max_timeout: float

    def timeout(self, remaining: float | None) -> float:
        """Seconds for a call whose caller allows `remaining`; None: it said nothing."""
        return min(self.default_timeout if remaining is None else remaining, self.max_timeout)


def limits_by_kind(settings: ServiceSettings) -> dict[Kind, Limits]:
    """Those that `settings` describe."""
    bounded = Limits(settings.default_timeout, settings.max_timeout)
    return {
        Kind.UNARY: bounded,
        Kind.BATCH: bounded,
        Kind.STREAM: Limits(settings.max_stream_age, settings.max_stream_age),
    }
