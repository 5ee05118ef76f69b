"""`python -m deploy.grafana` writes the dashboards' JSON; with `--check` it only says which files are out of date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.grafana.cache import CACHE_DASHBOARD
from deploy.grafana.jobs import JOBS
from deploy.grafana.models import MODELS
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.panels import Dashboard, dashboard_json
from deploy.grafana.resources import RESOURCES
from deploy.grafana.slo import SLO
from deploy.grafana.variants import VARIANTS

FOLDER = Path(__file__).parent
DASHBOARDS = (OVERVIEW, MODELS, CACHE_DASHBOARD, JOBS, VARIANTS, SLO, RESOURCES)


def render(dashboard: Dashboard) -> str:
    """The file's text."""
    return json.dumps(dashboard_json(dashboard), indent=1, ensure_ascii=False) + "\n"


def stale() -> list[Path]:
    """Files that differ from what the code makes."""
    wanted = {FOLDER / f"{dashboard.uid}.json": render(dashboard) for dashboard in DASHBOARDS}
    have = {path: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(path for path in wanted.keys() | have.keys() if wanted.get(path) != have.get(path))


def main() -> None:
    if "--check" in sys.argv[1:]:
        if old := stale():
            raise SystemExit(f"out of date, run python -m deploy.grafana: {', '.join(path.name for path in old)}")
        return
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(render(dashboard))


if __name__ == "__main__":
    main()
