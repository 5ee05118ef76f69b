"""An OpenTelemetry collector of a few lines: takes what services export over OTLP/gRPC, and keeps it for a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

ERROR = 2
"""Status code of a span, as in opentelemetry/proto/trace/v1/trace.proto."""
SERVER, CLIENT = 2, 3
"""Kinds of spans, likewise."""


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span; ids are lower-case hex digits, `parent` is empty for a root."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: frozenset[tuple[str, str]]
    """(trace, span) of every link."""
    status: int
    status_text: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    seconds: float


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that arrives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self.address = ""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self._lock:
            self._spans += _spans(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        """All so far."""
        with self._lock:
            return list(self._spans)

    def of(self, trace: str) -> list[Span]:
        """Those of one trace."""
        return [span for span in self.spans if span.trace == trace]


def _spans(request: Any) -> Iterator[Span]:
    for resource in request.resource_spans:
        names = {item.key: item.value.string_value for item in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Span(
                service=names["service.name"],
                name=span.name,
                kind=span.kind,
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                links=frozenset((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                status=span.status.code,
                status_text=span.status.message,
                attributes={a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
                events=tuple(event.name for event in span.events),
                seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            )


@contextmanager
def collector() -> Iterator[Collector]:
    """A running one, on a free port of this machine."""
    server = grpc.server(ThreadPoolExecutor(4))
    running = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(running, server)
    running.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield running
    finally:
        server.stop(None).wait()
