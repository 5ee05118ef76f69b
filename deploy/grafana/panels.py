"""Grafana's dashboard model (schema 39) as plain dictionaries: panels, rows, layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel.

    Attributes:
        expr: PromQL; `$namespace` and `$__rate_interval` are Grafana's.
        legend: such as `{{model}}`; empty: Grafana's own.
        instant: one value now and not a line.
    """

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        title: what it shows, as a reader would ask for it.
        description: how to read it: what is normal, and what to do when it is not.
        kind: timeseries, stat or table.
        unit: Grafana's name: s, percentunit, reqps, short, bytes, ...
        width: of 24 columns.
        steps: (colour, from value on) after green; drawn as lines in a time series.
        stacked: whether series add up to a whole.
        maximum: of the axis; None: by the data.
        minimum: likewise.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7
    steps: tuple[tuple[str, float], ...] = ()
    stacked: bool = False
    maximum: float | None = None
    minimum: float | None = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A line across all panels at the moments at which something happened.

    Attributes:
        name: of the switch that shows them.
        expr: PromQL; above nothing at those moments.
        title: of the line, such as `{{action}}`.
    """

    name: str
    expr: str
    title: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard; `uid` is also the name of its file."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    span: str = "now-3h"
    links: tuple[str, ...] = field(default=("ferry",))
    annotations: tuple[Annotation, ...] = ()


def panel_json(panel: Panel, number: int, x: int, y: int) -> Json:
    """The panel at column x and row y."""
    steps: list[Json] = [{"color": GREEN, "value": None}]
    steps += [{"color": color, "value": value} for color, value in panel.steps]
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.minimum is not None:
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    options: Json
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
        options = {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind == "stat":
        options = {
            "colorMode": "background" if panel.steps else "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"]},
        }
    else:
        options = {"showHeader": True}
    body: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [_target(query, chr(ord("A") + i), panel.kind) for i, query in enumerate(panel.queries)],
    }
    if panel.kind == "table":
        hidden = {"Time": True, "Value": True, "__name__": True}
        body["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return body


def _target(query: Query, ref: str, kind: str) -> Json:
    instant = query.instant or kind == "table"
    target: Json = {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "instant": instant,
        "range": not instant,
    }
    if query.legend:
        target["legendFormat"] = query.legend
    if kind == "table":
        target["format"] = "table"
    return target


def dashboard_json(dashboard: Dashboard) -> Json:
    """The dashboard, laid out row by row, left to right."""
    panels: list[Json] = []
    y = 0
    for row in dashboard.rows:
        panels.append(_row_json(row.title, len(panels) + 1, y))
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            panels.append(panel_json(panel, len(panels) + 1, x, y))
            x += panel.width
            height = max(height, panel.height)
        y += height
    return {
        "uid": f"ferry-{dashboard.uid}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["ferry"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": dashboard.span, "to": "now"},
        "timezone": "",
        "graphTooltip": 1,
        "links": [{"type": "dashboards", "tags": list(dashboard.links), "title": "Ferry", "asDropdown": False}],
        "templating": {"list": _variables()},
        "annotations": {"list": [_annotation_json(one) for one in dashboard.annotations]},
        "panels": panels,
    }


def _annotation_json(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": RED,
        "expr": annotation.expr,
        "titleFormat": annotation.title,
        "step": "30s",
    }


def _row_json(title: str, number: int, y: int) -> Json:
    grid = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": grid, "panels": []}


def _variables() -> list[Json]:
    query = "label_values(ferry_model_info, namespace)"
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": "namespace"},
            "definition": query,
            "refresh": 2,
            "includeAll": True,
            # Also matches where no scraper adds the label, as on one machine.
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]
