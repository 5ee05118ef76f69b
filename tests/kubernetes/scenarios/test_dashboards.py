"""What dashboards showed of a scenario is asked for with their own queries, and can be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from tests.kubernetes.scenarios.dashboards import STEP, TELLING, WINDOW, shown
from tests.kubernetes.scenarios.outcome import Call, Event, Outcome
from tests.kubernetes.scenarios.report import keep, kept

BEGAN = 1000.0


class Prometheus:
    """Knows of calls that were answered, but for one moment."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, path: str) -> Any:
        asked = parse_qs(urlsplit(path).query)
        (query,), (start,) = asked["query"], asked["start"]
        self.asked.append(query)
        first = float(start)
        result = []
        if query.startswith("sum by (grpc_status)"):
            values = [[first, "1.23456"], [first + STEP, "NaN"], [first + 3 * STEP, "3"]]
            result = [{"metric": {"grpc_status": "OK"}, "values": values}]
        return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def test_the_dashboards_own_queries_are_asked() -> None:
    prometheus = Prometheus()
    panels = shown(prometheus, BEGAN, BEGAN + 15)
    assert [panel.title for panel in panels] == [title for _, title in TELLING]
    assert all("$" not in query and '{namespace=~"ferry"' in query for query in prometheus.asked)
    assert any(f"[{WINDOW}]" in query for query in prometheus.asked)
    first = panels[0]
    assert (first.dashboard, first.unit, first.began) == ("Ferry: overview", "reqps", BEGAN)
    assert first.lines == {"OK": [1.235, None, None, 3.0]}


def test_they_are_kept_and_drawn_under_the_calls(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from tests.kubernetes.pictures import main

    panels = shown(Prometheus(), BEGAN, BEGAN + 15)
    outcome = Outcome("Drain of a node", BEGAN, BEGAN + 15, "ok", [Event(BEGAN + 1, "drain")], [Call(BEGAN, 0.1)] * 20)
    outcome.panels = panels
    file = keep([outcome], tmp_path)
    assert kept(file) == [outcome]
    main(tmp_path / "with", [file])
    outcome.panels = []
    main(tmp_path / "without", [keep([outcome], tmp_path)])
    heights = []
    for name in ("with", "without"):
        with Image.open(tmp_path / name / "drain-of-a-node.png") as picture:
            heights.append(picture.height)
    assert heights[0] > heights[1]
