"""The caller's trace goes on in Ferry: its context travels with every call."""

from __future__ import annotations

import sys

Metadata = tuple[tuple[str, str], ...]


def with_trace_context(metadata: Metadata) -> Metadata:
    """`metadata` and the context of the current OpenTelemetry span, where the caller uses OpenTelemetry.

    What the caller has set itself stays. A caller without OpenTelemetry does not pay for importing it.
    """
    if "opentelemetry.trace" not in sys.modules or any(key.lower() == "traceparent" for key, _ in metadata):
        return metadata
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return (*metadata, *((key.lower(), value) for key, value in carrier.items()))
