"""The Redis behind the gateway: one client and one breaker for all that keep something there."""

import sys

_METRICS = "opentelemetry.sdk.metrics"
if _METRICS not in sys.modules:
    # The library loads it where it is there, for metrics of its own that nobody asks for here: a tenth of the time that
    # a gateway needs to start.
    sys.modules[_METRICS] = None  # type: ignore[assignment]
    try:
        import redis  # noqa: F401
    finally:
        del sys.modules[_METRICS]
