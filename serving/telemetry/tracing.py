"""OpenTelemetry traces over OTLP: one trace crosses all services and, by span links, the shared batch run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.context import Context

import ferry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

Metadata = Sequence[tuple[str, str | bytes]]

_provider: TracerProvider | None = None
tracer: trace.Tracer = trace.NoOpTracer()


def configure(service: str, endpoint: str | None, sample_ratio: float, processor: SpanProcessor | None = None) -> None:
    """Starts tracing; without an endpoint (and without a processor, for tests) spans cost nothing.

    Args:
        service: becomes `service.name`.
        endpoint: OTLP/gRPC address such as `http://localhost:4317`.
        sample_ratio: share of new traces kept, [0, 1]; a caller's decision is followed.
        processor: takes the spans in place of the exporter.
    """
    global _provider, tracer
    if endpoint is None and processor is None:
        return
    # A tenth of the time that a service needs to start, so only where traces are sent.
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: ferry.__version__})
    _provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_ratio)))
    if processor is None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        insecure = not str(endpoint).startswith("https://")
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=5))
    _provider.add_span_processor(processor)
    tracer = _provider.get_tracer("ferry", ferry.__version__)


def enabled() -> bool:
    return _provider is not None


def extract(metadata: dict[str, str]) -> Context:
    """The caller's trace context from a call's metadata."""
    return propagate.extract(metadata)


def inject() -> dict[str, str]:
    """The current trace context as metadata for an outgoing call; empty while tracing is off."""
    carrier: dict[str, str] = {}
    if _provider is not None:
        propagate.inject(carrier)
    return carrier


def shutdown() -> None:
    """Sends what is left and stops. Called once, at the end of the process."""
    global _provider, tracer
    if _provider is not None:
        _provider.shutdown()
        _provider = None
        tracer = trace.NoOpTracer()
