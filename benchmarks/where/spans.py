"""A collector of traces, and how long each part of a request took by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

CLIENT = 3
"""Kind of a span, as in opentelemetry/proto/trace/v1/trace.proto."""


@dataclass(frozen=True, slots=True)
class Span:
    """A finished one; times in nanoseconds since the epoch."""

    service: str
    name: str
    kind: int
    trace: bytes
    id: bytes
    parent: bytes
    start: int
    end: int


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that arrives."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._lock = threading.Lock()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self._lock:
            for resource in request.resource_spans:
                attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.spans += [
                        Span(
                            attributes.get("service.name", ""), span.name, span.kind, span.trace_id, span.span_id,
                            span.parent_span_id, span.start_time_unix_nano, span.end_time_unix_nano,
                        )
                        for span in scope.spans
                    ]  # fmt: skip
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[tuple[Collector, int]]:
    """A collector on a free port; gives both."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, port
    finally:
        server.stop(None)


def own_times(spans: Iterable[Span]) -> dict[str, float]:
    """Milliseconds by part of a request, the mean over traces: each span without what its children took.

    A client's span without its server's is what the hop costs: sending, waiting for a thread, receiving. Spans that run
    beside each other, such as those of the classifiers, count each for itself.
    """
    kept = list(spans)
    children: dict[tuple[bytes, bytes], list[Span]] = {}
    for span in kept:
        children.setdefault((span.trace, span.parent), []).append(span)
    total: dict[str, float] = {}
    for span in kept:
        below = children.get((span.trace, span.id), [])
        own = span.end - span.start - covered([(child.start, child.end) for child in below], span.start, span.end)
        total[_label(span)] = total.get(_label(span), 0.0) + own / 1e6
    traces = len({span.trace for span in kept})
    return {name: value / traces for name, value in total.items()}


def covered(intervals: list[tuple[int, int]], start: int, end: int) -> int:
    """Length of the union of intervals inside [start, end]."""
    length, reached = 0, start
    for begin, finish in sorted(intervals):
        begin, finish = max(begin, reached), min(finish, end)  # noqa: PLW2901
        if finish > begin:
            length += finish - begin
            reached = finish
    return length


def _label(span: Span) -> str:
    if span.kind == CLIENT:
        return f"hop {span.service} to {span.name.rpartition('/')[2]}"
    return f"{span.service}, {span.name.rpartition('/')[2]}"
