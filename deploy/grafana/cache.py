"""The result cache: what it saves, and whether its Redis is well."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row
from deploy.grafana.promql import CACHE, LATENCY, NS, hit_share, quantile, rate, share

_REDIS = f'{NS},tier="redis"'

CACHE_DASHBOARD = Dashboard(
    "cache",
    "Ferry: cache",
    "How many answers were known already. Keys change with every rollout of a model or the recipe: hits start anew.",
    (
        Row(
            "What it saves",
            (
                Panel(
                    "From the cache",
                    "Share of images answered without a model run of their own.",
                    (Query(hit_share()),),
                    "stat",
                    "percentunit",
                    width=6,
                ),
                Panel(
                    "Look-ups",
                    "memory first, then redis. coalesced: the same image was already being computed.",
                    (Query(rate(CACHE, by="tier, result"), "{{tier}} {{result}}"),),
                    unit="reqps",
                    width=18,
                ),
            ),
        ),
        Row(
            "By tier",
            (
                Panel(
                    "Hits by tier",
                    "Share of each tier's own look-ups. Low in memory, high in Redis: memory is too small.",
                    (
                        Query(share(CACHE, f'{NS},tier="memory",result="hit"', f'{NS},tier="memory"'), "memory"),
                        Query(share(CACHE, f'{_REDIS},result="hit"', _REDIS), "redis"),
                    ),
                    unit="percentunit",
                    maximum=1,
                ),
                Panel(
                    "Redis errors",
                    "Share of Redis' look-ups. 100 %: gone, the breaker leaves it alone; requests go on without it.",
                    (Query(share(CACHE, f'{_REDIS},result="error"', _REDIS), "redis"),),
                    unit="percentunit",
                    steps=((YELLOW, 0.01), (RED, 0.05)),
                    maximum=1,
                ),
                Panel(
                    "p50 by outcome",
                    "A hit should take a millisecond or a few; more: the gateway has too little CPU.",
                    (Query(quantile(0.5, LATENCY, by="cache"), "{{cache}}"),),
                    unit="s",
                ),
            ),
        ),
    ),
)
