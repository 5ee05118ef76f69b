"""Structured logs: one JSON object a line on standard error, with request and trace ids. Nothing that callers send."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

_MAX_CAUSES = 8
_SELDOM_SECONDS = 60.0


class Formatter(JsonFormatter):
    """Of an exception its kind and where it came from, and so of what caused it; never its message, which can quote
    what a caller sent. Where a message is known to be harmless, whoever logs it says it."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """With milliseconds and the zone."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")

    def formatException(  # noqa: N802
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        error, parts = ei[1], list[str]()
        while error is not None and len(parts) < _MAX_CAUSES:
            parts.append("".join(traceback.format_tb(error.__traceback__)) + type(error).__qualname__)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nfrom:\n".join(parts)


class _Correlate(logging.Filter):
    def __init__(self, request_id: Callable[[], str]) -> None:
        super().__init__()
        self._request_id = request_id

    def filter(self, record: logging.LogRecord) -> bool:
        if request_id := self._request_id():
            record.request_id = request_id
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            record.trace_id = trace.format_trace_id(span.trace_id)
            record.span_id = trace.format_span_id(span.span_id)
        return True


def _is_news(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


class _Seldom(logging.Filter):
    """Of what asyncio says once a second for each port, as long as no more files may be open, one in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            return True
        if record.created < self._next:
            return False
        self._next = record.created + _SELDOM_SECONDS
        return True


def configure(service: str, level: str, request_id: Callable[[], str] = str) -> None:
    """Sends the root logger's records to standard error as JSON lines of `service`.

    Args:
        service: name, on each line.
        level: least that is written.
        request_id: of what is worked for at present; empty: nothing.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Formatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    )
    handler.addFilter(_Correlate(request_id))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # That a caller has left before its answer was sent, with a traceback for each.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    logging.getLogger("asyncio").addFilter(_Seldom())
    # grpc.aio logs every cancelled call at ERROR through asyncio; the interceptor reports what matters.
    logging.getLogger("grpc").setLevel(logging.WARNING)
