"""The span of a run of a model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from opentelemetry.context import Context

from serving.telemetry import tracing


def run_span(model: str, version: str, requests: Sequence[trace.SpanContext]) -> AbstractContextManager[trace.Span]:
    """Of the run for these requests; one that records nothing where none of them is traced."""
    if not any(request.trace_flags.sampled for request in requests):
        return nullcontext(trace.INVALID_SPAN)
    links = [trace.Link(request) for request in requests if request.is_valid]
    attributes = {"ferry.model": model, "ferry.version": version}
    return tracing.tracer.start_as_current_span("model run", _parent(links), links=links, attributes=attributes)


def _parent(links: list[trace.Link]) -> Context:
    """The run belongs to the trace of its first sampled request, so that it is kept where that request is kept."""
    sampled = [link.context for link in links if link.context.trace_flags.sampled]
    parents = sampled or [link.context for link in links]
    return trace.set_span_in_context(trace.NonRecordingSpan(parents[0]), Context()) if parents else Context()
