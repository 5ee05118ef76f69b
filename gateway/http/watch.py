"""What happens in the cluster, for whoever looks at the page: figures of its processes' metrics, read on demand."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from typing import Any, Final

from prometheus_client import generate_latest

from serving.telemetry.figures import ClusterFigures, figures, rate
from serving.telemetry.scrape import Scrape, parse, scrape_all

LEAST_SECONDS: Final = 1.0
"""Between two looks, however many people ask."""
SPAN_SECONDS: Final = 10.0
"""Figures are of about so long."""
_OWN: Final = "gateway"
_FRONT: Final = "ExpressionRecognition"
_VARIANT_COUNTERS: Final = {
    "images_per_second": "ferry_exposures_total",
    "errors_per_second": "ferry_variant_errors_total",
    "fallbacks_per_second": "ferry_variant_fallbacks_total",
    "shadows_per_second": "ferry_shadow_total",
    "faces_per_second": "ferry_predictions_total",
}


@dataclass(frozen=True, slots=True)
class _Look:
    when: float
    scrapes: list[Scrape]


class Watch:
    """Looks at the metrics of this process and of others, at most once a second."""

    def __init__(self, endpoints: Sequence[str], pool: Executor) -> None:
        """
        Args:
            endpoints: `host:port` of the other processes' metrics.
            pool: where they are asked.
        """
        self._endpoints = tuple(endpoints)
        self._pool = pool
        self._looks: list[_Look] = []
        self._looking: asyncio.Task[None] | None = None

    async def figures(self) -> dict[str, Any]:
        """Of the last seconds, or since the last look where that is longer ago; where nobody has looked before, since
        the start of each process, without rates."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_again())
        # Whoever leaves ends no look: its thread would go on beside that of the next one.
        await asyncio.shield(self._looking)
        first, last = self._looks[0], self._looks[-1]
        before = [] if first is last else first.scrapes
        return await asyncio.to_thread(_document, figures(last.scrapes, before), last.scrapes, before)

    async def _look_again(self) -> None:
        if self._looks and time.monotonic() - self._looks[-1].when < LEAST_SECONDS:
            return
        scrapes = await asyncio.to_thread(self._look)
        # One look over a long silence is told once: better than nothing, and worse than a few seconds.
        if self._looks and self._looks[-1].when - self._looks[0].when > 3 * SPAN_SECONDS:
            del self._looks[0]
        self._looks.append(_Look(time.monotonic(), scrapes))
        oldest = self._looks[-1].when - SPAN_SECONDS
        recent = [look for look in self._looks if look.when >= oldest]
        # The newest of those that are older is kept: the span is never shorter than it could be.
        self._looks = [*self._looks[: len(self._looks) - len(recent)][-1:], *recent]

    def _look(self) -> list[Scrape]:
        own = parse(_OWN, generate_latest().decode())
        return [own, *scrape_all(self._endpoints, self._pool)]


def _document(seen: ClusterFigures, now: Sequence[Scrape], before: Sequence[Scrape]) -> dict[str, Any]:
    front = [call for call in seen.calls if call.endpoint == _OWN and call.service == _FRONT]
    busiest = max(front, key=lambda call: call.requests, default=None)
    requests, errors = sum(call.requests for call in front), sum(call.errors for call in front)
    return {
        "seconds": seen.seconds,
        "requests": requests,
        "errors": errors,
        "faces": seen.faces,
        "requests_per_second": rate(requests, seen.seconds),
        "errors_per_second": rate(errors, seen.seconds),
        "p50_ms": None if busiest is None else busiest.p50_ms,
        "p95_ms": None if busiest is None else busiest.p95_ms,
        "cache_hit_share": seen.cache_hit_share,
        "faces_per_second": rate(seen.faces, seen.seconds),
        "processes": len(now),
        "calls": [asdict(call) for call in front],
        "models": [asdict(model) for model in seen.models],
        "variants": _variants(now, before, seen.seconds),
        "experiments": _experiments(now),
    }


def _experiments(now: Sequence[Scrape]) -> list[dict[str, Any]]:
    """What a judge says of each variant by metric: where the difference to `stable` lies, and whether it is worse."""
    ends: dict[tuple[str, str], dict[str, float]] = {}
    worse: set[tuple[str, str]] = set()
    for scrape in now:
        for labels, value in scrape.values.get("ferry_verdict_interval", {}).items():
            of = dict(labels)
            ends.setdefault((of["variant"], of["metric"]), {})[of["end"]] = value
        for labels, value in scrape.values.get("ferry_verdict_worse", {}).items():
            of = dict(labels)
            if value:
                worse.add((of["variant"], of["metric"]))
    return [
        {
            "variant": variant,
            "metric": metric,
            **{end: found[end] if math.isfinite(found.get(end, math.nan)) else None for end in ("low", "high")},
            "worse": (variant, metric) in worse,
        }
        for (variant, metric), found in sorted(ends.items())
    ]


def _variants(now: Sequence[Scrape], before: Sequence[Scrape], seconds: float) -> list[dict[str, Any]]:
    own = next(scrape for scrape in now if scrape.endpoint == _OWN)
    earlier = next((scrape for scrape in before if scrape.endpoint == _OWN), None)
    found: dict[str, dict[str, float]] = {}
    for field, name in _VARIANT_COUNTERS.items():
        for labels, value in own.values.get(name, {}).items():
            variant = dict(labels)["variant"]
            past = 0.0 if earlier is None else earlier.values.get(name, {}).get(labels, 0.0)
            found.setdefault(variant, dict.fromkeys(_VARIANT_COUNTERS, 0.0))[field] += value - past
    return [
        {"name": variant, **{field: rate(count, seconds) for field, count in found[variant].items()}}
        for variant in sorted(found)
    ]
