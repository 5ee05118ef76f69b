"""What Ferry's dashboards show of a scenario: their own queries, asked of the Prometheus that runs beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.deploy.expressions import GRAFANA
from tests.deploy.manifests import Json
from tests.kubernetes.kubectl import NAMESPACE
from tests.kubernetes.scenarios.outcome import Panel

TELLING = (
    ("overview", "Calls by status"),
    ("overview", "Time to an answer"),
    ("overview", "Errors"),
    ("overview", "p95"),
    ("models", "Waiting / computing"),
    ("models", "Answers without it"),
    ("cache", "Redis errors"),
    ("overview", "Images by variant"),
)
"""Dashboard and panel that pictures show, in this order: who suffers, who fails, who is slow, and what was lost."""
STEP = 5
"""Seconds between two values, as between two looks of Prometheus at a pod (scenarios/prometheus.py)."""
WINDOW = f"{4 * STEP}s"
"""What Grafana takes for `$__rate_interval` then."""


def telling() -> list[tuple[str, Json]]:
    """Title of the dashboard, and the panel as Grafana has it, of each of TELLING."""
    found = []
    for file, title in TELLING:
        dashboard = json.loads((GRAFANA / f"{file}.json").read_text())
        (panel,) = (one for one in dashboard["panels"] if (one["title"], one["type"]) == (title, "timeseries"))
        found.append((dashboard["title"], panel))
    return found


def shown(ask: Callable[[str], Any], began: float, ended: float) -> list[Panel]:
    """Asks for what every one of these panels showed of a scenario.

    Args:
        ask: a Prometheus: the answer to GET of a path.
        began: seconds since 1970.
        ended: likewise.
    """
    places = math.floor((ended - began) / STEP) + 1
    found = []
    for dashboard, panel in telling():
        lines: dict[str, list[float | None]] = {}
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", WINDOW).replace("$namespace", NAMESPACE)
            when = {"query": query, "start": f"{began:.3f}", "end": f"{ended:.3f}", "step": STEP}
            answer = ask(f"/api/v1/query_range?{urlencode(when)}")
            for series in answer["data"]["result"]:
                line: list[float | None] = [None] * places
                for at, value in series["values"]:
                    if not math.isnan(float(value)):
                        line[round((float(at) - began) / STEP)] = float(f"{float(value):.4g}")
                lines[legend(target.get("legendFormat", ""), series["metric"]) or panel["title"]] = line
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found.append(Panel(dashboard, panel["title"], unit, began, STEP, lines))
    return found


def legend(form: str, labels: dict[str, str]) -> str:
    """Grafana's: `{{label}}` replaced."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), form)
