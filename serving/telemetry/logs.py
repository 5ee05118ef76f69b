"""Structured logs: one JSON object a line on standard error, with request and trace ids. Never any image data."""

from __future__ import annotations

import logging
import sys

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

from serving.rpc import context


class _Correlate(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        request = context.current.get()
        if request is not None:
            record.request_id = request.request_id
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            record.trace_id = trace.format_trace_id(span.trace_id)
            record.span_id = trace.format_span_id(span.span_id)
        return True


def configure(service: str, level: str) -> None:
    """Sends the root logger's records to standard error as JSON lines of `service`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    handler.addFilter(_Correlate())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # grpc.aio logs every cancelled call at ERROR through asyncio; the interceptor reports what matters.
    logging.getLogger("grpc").setLevel(logging.WARNING)
