"""The committed dashboards are those that the code makes, and a person can read them."""

from __future__ import annotations

import json

import pytest

from deploy.grafana.__main__ import DASHBOARDS, stale
from tests.deploy.expressions import GRAFANA, panels
from tests.deploy.manifests import name, of_kind, render

FILES = sorted(GRAFANA.glob("*.json"))


def test_the_committed_files_are_current() -> None:
    assert stale() == [], "run python -m deploy.grafana"
    assert len(FILES) == len(DASHBOARDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_explains_itself_and_has_its_place(path) -> None:  # type: ignore[no-untyped-def]
    taken = set()
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"]
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    numbers = [panel["id"] for panel in json.loads(path.read_text())["panels"]]
    assert len(numbers) == len(set(numbers))


def test_every_dashboard_is_delivered_to_grafana() -> None:
    maps = [m for m in of_kind(render("cpu", ("monitoring",)), "ConfigMap") if name(m).startswith("dashboard-")]
    assert {file for m in maps for file in m["data"]} == {path.name for path in FILES}
    for item in maps:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        # kubectl apply keeps a copy in an annotation, of which 256 KiB are allowed.
        assert len(json.dumps(item)) < 200_000
