"""Objectives, and how fast their error budgets burn. The ratios are recorded by the monitoring component's rules."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row
from deploy.grafana.promql import NS

AVAILABILITY_BUDGET, LATENCY_BUDGET = 0.001, 0.01
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
_STEPS = ((YELLOW, 1.0), (RED, 6.0))


def _row(title: str, record: str, budget: float, what: str) -> Row:
    def ratio(window: str) -> str:
        return f"ferry:{record}:ratio_rate{window}{{{NS}}}"

    return Row(
        title,
        (
            Panel(
                "Last 3 days",
                f"Share of {what}. The budget is {budget:.1%}.",
                (Query(ratio("3d")),),
                "stat",
                "percentunit",
                width=6,
                steps=((YELLOW, budget / 2), (RED, budget)),
            ),
            Panel(
                "Burn rate",
                "1 uses the budget up in exactly 30 days. Above 14.4 (1 h and 5 min) or 6 (6 h and 30 min) somebody is "
                "called; 1 over 3 days opens a ticket.",
                tuple(Query(f"{ratio(window)} / {budget}", window) for window in WINDOWS),
                width=18,
                steps=_STEPS,
            ),
        ),
    )


SLO = Dashboard(
    "slo",
    "Ferry: objectives",
    "Whether users get what was promised, and how much may still go wrong.",
    (
        _row("Availability: 99.9 % of calls", "errors", AVAILABILITY_BUDGET, "calls that failed through Ferry's fault"),
        _row("Latency: 99 % of answers within 0.5 s", "slow", LATENCY_BUDGET, "answers that took longer than 0.5 s"),
        Row(
            "Alerts",
            (
                Panel(
                    "Firing and pending",
                    "Each has a page in docs/runbooks: what it means, where to look, what to do.",
                    (Query('ALERTS{alertname=~"Ferry.*"}'),),
                    "table",
                    width=24,
                ),
            ),
        ),
    ),
    span="now-7d",
)
