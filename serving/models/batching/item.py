"""A request in the queue of a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from opentelemetry import trace

from serving.models.backends.base import Rows
from serving.models.batching.result import BatchResult, Finish


@dataclass(slots=True, eq=False, repr=False)
class Item:
    """Without a repr: a deque that does not hold one names it in an error, and would print all of its rows for that."""

    rows: Rows
    deadline: float
    future: asyncio.Future[BatchResult]
    enqueued: float
    span: trace.SpanContext
    finish: Finish | None = None
    queue_seconds: float = field(default=0.0)
