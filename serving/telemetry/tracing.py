"""OpenTelemetry traces over OTLP: one trace crosses all services and, by span links, the shared batch run."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import ferry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

Metadata = Sequence[tuple[str, str | bytes]]

_TRACEPARENT = "traceparent"
_propagator = TraceContextTextMapPropagator()
"""And not baggage, which nobody here reads: what it takes to parse it grows with the square of its length."""
_UNSAMPLED = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[02468ace]")
_LOW_64 = (1 << 64) - 1
_provider: TracerProvider | None = None
_bound = 0
"""Of 2^64: below it lies the share of new traces that are kept."""
tracer: trace.Tracer = trace.NoOpTracer()


def configure(service: str, endpoint: str | None, sample_ratio: float, processor: SpanProcessor | None = None) -> None:
    """Starts tracing; without an endpoint (and without a processor, for tests) spans cost nothing.

    Args:
        service: becomes `service.name`.
        endpoint: OTLP/gRPC address such as `http://localhost:4317`.
        sample_ratio: share of new traces kept, [0, 1]; a caller's decision is followed.
        processor: takes the spans in place of the exporter.
    """
    global _provider, tracer, _bound
    if endpoint is None and processor is None:
        return
    # It warns of what callers send, in their words.
    logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
    # A tenth of the time that a service needs to start, so only where traces are sent.
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from serving.telemetry.sampling import Chosen

    resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: ferry.__version__})
    # A call that nobody traces comes to the tracer only where `unsampled` has chosen it.
    chosen = Chosen(TraceIdRatioBased(sample_ratio))
    _bound = round(sample_ratio * (1 << 64))
    _provider = TracerProvider(resource=resource, sampler=ParentBased(chosen))
    if processor is None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        insecure = not str(endpoint).startswith("https://")
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=5))
    _provider.add_span_processor(processor)
    tracer = _provider.get_tracer("ferry", ferry.__version__)


def enabled() -> bool:
    return _provider is not None


def unsampled(metadata: Mapping[str, str]) -> trace.Span | None:
    """For a call that nobody traces and that is not chosen to be traced: what says so to those that it calls. None: the
    tracer is to decide, or has to record.

    Cheaper by far than to let the tracer make a span of it first, and nine calls in ten are such.
    """
    parent = metadata.get(_TRACEPARENT)
    if parent is not None:
        known = _UNSAMPLED.fullmatch(parent)
        if known is None:
            return None
        return trace.NonRecordingSpan(trace.SpanContext(int(known[1], 16), int(known[2], 16), is_remote=True))
    trace_id = random.getrandbits(128) or 1
    if trace_id & _LOW_64 < _bound:
        return None
    return trace.NonRecordingSpan(trace.SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False))


def recording() -> bool:
    """Whether a span of what is done now would be kept, as far as is known: a trace that has begun is kept or not."""
    if _provider is None:
        return False
    now = trace.get_current_span().get_span_context()
    return now.trace_flags.sampled or not now.is_valid


def extract(metadata: dict[str, str]) -> Context:
    """The caller's trace context from a call's metadata."""
    return _propagator.extract(metadata)


def inject() -> dict[str, str]:
    """The current trace context as metadata for an outgoing call; empty while tracing is off."""
    carrier: dict[str, str] = {}
    if _provider is not None:
        _propagator.inject(carrier)
    return carrier


def shutdown() -> None:
    """Sends what is left and stops. Called once, at the end of the process."""
    global _provider, tracer
    if _provider is not None:
        _provider.shutdown()
        _provider = None
        tracer = trace.NoOpTracer()
