"""The first dashboard to look at: rate, errors and duration, from the edge inwards."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row
from deploy.grafana.promql import (
    CALLS,
    LATENCY,
    NS,
    OURS,
    RECOGNIZE,
    WORK,
    degraded_share,
    hit_share,
    quantile,
    quantiles,
    rate,
    share,
)

_WELL = Row(
    "Is it well?",
    (
        Panel(
            "Calls",
            "Calls of Recognize and RecognizeBatch a second. Compare with the same hour of yesterday.",
            (Query(rate(f"{CALLS}_count", RECOGNIZE)),),
            "stat",
            "reqps",
            width=4,
            height=4,
        ),
        Panel(
            "Errors",
            "Share of calls that failed through Ferry's fault. Objective: below 0.1 %. Red: open the SLO dashboard.",
            (Query(share(f"{CALLS}_count", f"{RECOGNIZE},{OURS}", RECOGNIZE)),),
            "stat",
            "percentunit",
            width=4,
            height=4,
            steps=((YELLOW, 0.001), (RED, 0.0144)),
        ),
        Panel(
            "p95",
            "95 of 100 images are answered faster than this. Objective: 99 of 100 within 0.5 s.",
            (Query(quantile(0.95, LATENCY)),),
            "stat",
            "s",
            width=4,
            height=4,
            steps=((YELLOW, 0.35), (RED, 0.5)),
        ),
        Panel(
            "Degraded",
            "Share of images judged without one of the models. Which one: dashboard Models.",
            (Query(degraded_share()),),
            "stat",
            "percentunit",
            width=4,
            height=4,
            steps=((YELLOW, 0.001), (RED, 0.01)),
        ),
        Panel(
            "From the cache",
            "Share of images whose answer was known already. A sudden drop: a rollout (new models, new keys) or Redis.",
            (Query(hit_share()),),
            "stat",
            "percentunit",
            width=4,
            height=4,
        ),
        Panel(
            "Models",
            "Model versions in service.",
            (Query(f"count(count by (model, version) (ferry_model_info{{{NS}}}))"),),
            "stat",
            width=4,
            height=4,
        ),
    ),
)

_CALLERS = Row(
    "As callers see it (gateway)",
    (
        Panel(
            "Calls by status",
            "OK should be nearly all. INVALID_ARGUMENT is the caller's own; RESOURCE_EXHAUSTED is load that was shed.",
            (Query(rate(f"{CALLS}_count", RECOGNIZE, "grpc_status"), "{{grpc_status}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Time to an answer",
            "Of images, cached ones included. p99 far above p95: queueing in one model or one replica.",
            quantiles(LATENCY),
            unit="s",
            steps=((RED, 0.5),),
        ),
        Panel(
            "Time by what the cache did",
            "p95. hit: known; coalesced: the same image was being computed; miss and bypass: computed.",
            (Query(quantile(0.95, LATENCY, by="cache"), "{{cache}}"),),
            unit="s",
        ),
        Panel(
            "Refused before any work",
            "overload: shed, add gateways or find what is slow behind them. Others: requests out of bounds.",
            (Query(f"{rate('ferry_rejected_total', by='reason')} or vector(0)", "{{reason}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Expressions",
            "Faces a second by expression. A sudden shift without a rollout: other pictures, or a broken model.",
            (Query(rate("ferry_predictions_total", by="expression"), "{{expression}}"),),
            stacked=True,
        ),
        Panel(
            "Images by variant",
            "Answers a second by the variant of the pipeline that gave them.",
            (Query(rate(f"{LATENCY}_count", by="variant"), "{{variant}}"),),
            unit="reqps",
            stacked=True,
        ),
    ),
)

_SERVICES = Row(
    "Service by service",
    (
        Panel(
            "Calls",
            "Misses go gateway → ensembler → detector, then to every classifier where there are faces.",
            (Query(rate(f"{CALLS}_count", by="rpc_service, rpc_method"), "{{rpc_service}}/{{rpc_method}}"),),
            unit="reqps",
        ),
        Panel(
            "Errors",
            "Share of calls. The service furthest down the way that has them is where to look.",
            (Query(share(f"{CALLS}_count", f"{WORK},{OURS}", WORK, "rpc_service"), "{{rpc_service}}"),),
            unit="percentunit",
        ),
        Panel(
            "p95",
            "Each includes those it calls: the first one that is slow while those behind it are not is the cause.",
            (Query(quantile(0.95, CALLS, WORK, "rpc_service"), "{{rpc_service}}"),),
            unit="s",
        ),
    ),
)

OVERVIEW = Dashboard(
    "overview",
    "Ferry: overview",
    "Start here: rate, errors and duration as callers see them, then service by service along the way of an image.",
    (_WELL, _CALLERS, _SERVICES),
)
