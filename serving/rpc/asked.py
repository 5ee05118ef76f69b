"""What is asked of a service behind this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import grpc

from ferry.transport import LOST_KEY
from serving.rpc import context as request_context
from serving.rpc.context import REQUEST_ID_KEY, Losses
from serving.telemetry import tracing

ResponseT = TypeVar("ResponseT")
Sent: TypeAlias = "grpc.aio.UnaryUnaryCall[Any, ResponseT]"
Method = Callable[..., "grpc.aio.UnaryUnaryCall[Any, ResponseT]"]


@dataclass(slots=True, eq=False)
class Asked(Generic[ResponseT]):
    """A unary call that may be sent more than once.

    Attributes:
        method: of a stub.
        request: its message.
        end: of all patience, time.monotonic() seconds.
        patience: as for Upstream.call.
        losses: of the request that this is for.
        again: as for Upstream.call.
    """

    method: Method[ResponseT]
    request: Any
    end: float
    patience: float
    losses: Losses
    again: bool

    def send(self, timeout: float) -> Sent[ResponseT]:
        """A call that waits is never told that there is no replica: what is left is a replica that was lost."""
        return self.method(
            self.request, timeout=timeout, metadata=_metadata(self.losses), wait_for_ready=self.patience > 0
        )


def _metadata(losses: Losses) -> tuple[tuple[str, str], ...]:
    pairs = tracing.inject()
    context = request_context.current.get()
    if context is not None:
        pairs[REQUEST_ID_KEY] = context.request_id
    if losses.count:
        pairs[LOST_KEY] = str(losses.count)
    return tuple(pairs.items())
