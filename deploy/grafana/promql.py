"""PromQL for panels: rates, shares, quantiles and means of Ferry's metrics (serving/telemetry/metrics.py)."""

from __future__ import annotations

from deploy.grafana.panels import Query

NS = 'namespace=~"$namespace"'
RECOGNIZE = NS + ',rpc_service="ferry.v1.ExpressionRecognition",rpc_method=~"Recognize.*"'
ENSEMBLED = NS + ',rpc_service="ferry.v1.Ensembler",rpc_method="Recognize"'
WORK = NS + ',rpc_method!~"GetPipeline|GetStatus"'
"""Calls that do something for somebody: not those by which services learn of each other."""
OURS = 'grpc_status=~"UNAVAILABLE|INTERNAL|UNKNOWN|DEADLINE_EXCEEDED|DATA_LOSS|RESOURCE_EXHAUSTED"'
"""Errors that count against availability: those that are not the caller's own."""

CALLS = "rpc_server_call_duration_seconds"
LATENCY = "ferry_prediction_latency_seconds"
QUEUE = "ferry_inference_queue_seconds"
COMPUTE = "ferry_inference_compute_seconds"
BATCH = "ferry_inference_batch_size"
CACHE = "ferry_cache_requests_total"
DEGRADED = "ferry_degraded_total"


def rate(metric: str, selector: str = NS, by: str = "") -> str:
    """Per-second rate of a counter, summed."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[$__rate_interval]))"


def share(metric: str, part: str, whole: str, by: str = "") -> str:
    """The share that the series of selector `part` have of those of `whole`; 0 where there are none."""
    total = rate(metric, whole, by)
    return f"({rate(metric, part, by)} or 0 * {total}) / {total}"


def quantile(q: float, metric: str, selector: str = NS, by: str = "") -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', selector, f'le, {by}' if by else 'le')})"


def quantiles(metric: str, selector: str = NS) -> tuple[Query, ...]:
    """Median, p95 and p99."""
    return tuple(Query(quantile(q, metric, selector), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99))


def mean(metric: str, by: str, selector: str = NS) -> str:
    """The mean of a histogram."""
    return f"{rate(f'{metric}_sum', selector, by)} / {rate(f'{metric}_count', selector, by)}"


def degraded_share() -> str:
    """The share of images that a model is missing from."""
    total = rate(f"{CALLS}_count", ENSEMBLED)
    return f"({rate(DEGRADED)} or 0 * {total}) / {total}"


def hit_share() -> str:
    """The share of look-ups, memory first and then Redis, that found an answer."""
    found = rate(CACHE, f'{NS},result=~"hit|coalesced"')
    asked = rate(CACHE, f'{NS},tier="memory",result=~"hit|miss"')
    return f"{found} / {asked}"
