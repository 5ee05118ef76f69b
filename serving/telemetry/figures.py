"""From two looks at the metrics of a cluster to what a person wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.telemetry.scrape import Histogram, Labels, Scrape

_EMPTY = Histogram((), 0.0)
_HOUSEKEEPING = {"GetPipeline", "GetStatus"}


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Calls of one method at one process. Times in milliseconds; None without a call. Rates per second; None where
    there was no earlier look."""

    endpoint: str
    service: str
    method: str
    requests: float
    errors: float
    requests_per_second: float | None
    errors_per_second: float | None
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model version in one process. Times in milliseconds; None without a run. The rate is None where there was no
    earlier look."""

    endpoint: str
    model: str
    version: str
    backend: str
    precision: str
    in_flight: int
    runs: float
    runs_per_second: float | None
    mean_batch_size: float | None
    mean_queue_ms: float | None
    p95_queue_ms: float | None
    mean_compute_ms: float | None


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """The whole cluster over some seconds."""

    seconds: float
    """How long was looked at; 0: since each process started, however long ago that was, so that there are no rates."""
    calls: tuple[CallFigures, ...]
    models: tuple[ModelFigures, ...]
    cache_hit_share: float | None
    """Images answered without a model run of their own (known, or being computed for another), of all look-ups by
    requests; None without one."""
    faces: float
    """Faces answered."""


def figures(now: Sequence[Scrape], before: Sequence[Scrape] = ()) -> ClusterFigures:
    """What happened between `before` and `now`, matched by endpoint; without `before`, since the beginning."""
    earlier = {scrape.endpoint: scrape for scrape in before}
    seconds = max((s.when - earlier[s.endpoint].when for s in now if s.endpoint in earlier), default=0.0)
    calls: list[CallFigures] = []
    models: list[ModelFigures] = []
    for scrape in now:
        calls += _calls(scrape, earlier.get(scrape.endpoint), seconds)
        models += _models(scrape, earlier.get(scrape.endpoint), seconds)
    pairs = [(scrape, earlier.get(scrape.endpoint)) for scrape in now]
    found = sum(_looked_up(s, e, result=result) for s, e in pairs for result in ("hit", "coalesced"))
    looked = sum(_looked_up(s, e, result=result, tier="memory") for s, e in pairs for result in ("hit", "miss"))
    return ClusterFigures(
        seconds=seconds,
        calls=tuple(calls),
        models=tuple(models),
        cache_hit_share=found / looked if looked else None,
        faces=sum(_grown(s, e, "ferry_predictions_total") for s, e in pairs),
    )


def rate(count: float, seconds: float) -> float | None:
    """Per second; None where `seconds` is 0."""
    return count / seconds if seconds else None


def _calls(now: Scrape, before: Scrape | None, seconds: float) -> list[CallFigures]:
    name = "rpc_server_call_duration_seconds"
    series: dict[tuple[str, str], list[tuple[bool, Histogram]]] = {}
    for labels, histogram in now.histograms.get(name, {}).items():
        by = dict(labels)
        observed = histogram.since(None if before is None else before.histograms.get(name, {}).get(labels))
        key = by.get("rpc_service", ""), by.get("rpc_method", "")
        series.setdefault(key, []).append((by.get("grpc_status") == "OK", observed))
    rows = []
    for (service, method), parts in sorted(series.items()):
        if method in _HOUSEKEEPING:
            continue
        together = _EMPTY
        for _, histogram in parts:
            together = together.plus(histogram)
        failed = sum(histogram.count for ok, histogram in parts if not ok)
        rows.append(
            CallFigures(
                endpoint=now.endpoint,
                service=service.removeprefix("ferry.v1."),
                method=method,
                requests=together.count,
                errors=failed,
                requests_per_second=rate(together.count, seconds),
                errors_per_second=rate(failed, seconds),
                p50_ms=_ms(together.quantile(0.5)),
                p95_ms=_ms(together.quantile(0.95)),
            )
        )
    return rows


def _models(now: Scrape, before: Scrape | None, seconds: float) -> list[ModelFigures]:
    rows = []
    for labels in now.values.get("ferry_model_info", {}):
        info = dict(labels)
        model, version = info.get("model", ""), info.get("version", "")
        key: Labels = (("model", model), ("version", version))

        def observed(name: str, key: Labels = key) -> Histogram:
            histogram = now.histograms.get(name, {}).get(key, _EMPTY)
            return histogram.since(None if before is None else before.histograms.get(name, {}).get(key))

        queue = observed("ferry_inference_queue_seconds")
        batches = observed("ferry_inference_batch_size")
        rows.append(
            ModelFigures(
                endpoint=now.endpoint,
                model=model,
                version=version,
                backend=info.get("backend", ""),
                precision=info.get("precision", ""),
                in_flight=round(now.values.get("ferry_inference_in_flight", {}).get((("model", model),), 0.0)),
                runs=batches.count,
                runs_per_second=rate(batches.count, seconds),
                mean_batch_size=batches.mean,
                mean_queue_ms=_ms(queue.mean),
                p95_queue_ms=_ms(queue.quantile(0.95)),
                mean_compute_ms=_ms(observed("ferry_inference_compute_seconds").mean),
            )
        )
    return rows


def _looked_up(now: Scrape, before: Scrape | None, **wanted: str) -> float:
    return _grown(now, before, "ferry_cache_requests_total", **wanted)


def _grown(now: Scrape, before: Scrape | None, name: str, **wanted: str) -> float:
    """The increase of a counter, over all its series that have the `wanted` labels."""
    total = 0.0
    for labels, value in now.values.get(name, {}).items():
        if wanted.items() <= dict(labels).items():
            earlier = 0.0 if before is None else before.values.get(name, {}).get(labels, 0.0)
            total += value - earlier if value >= earlier else value
    return total


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
