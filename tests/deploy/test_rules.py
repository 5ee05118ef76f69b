"""Rules and dashboards as Prometheus itself reads them: syntax, and when alerts fire and when they do not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.expressions import GRAFANA, alerts, in_adapter, in_analyses, in_dashboards, in_keda, rules
from tests.deploy.manifests import K8S, ROOT

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: apt install prometheus)")


def _promtool(*arguments: str, folder: Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.timeout(600)  # hours of evaluations for every case
def test_rules_are_sound_and_fire_when_they_should(tmp_path: Path) -> None:
    document = yaml.safe_load((K8S / "components/monitoring/prometheus-rule.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(document["spec"]))
    shutil.copy(Path(__file__).with_name("rules_test.yaml"), tmp_path)
    _promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=tmp_path)
    _promtool("test", "rules", "rules_test.yaml", folder=tmp_path)


@needs_promtool
def test_every_expression_is_promql(tmp_path: Path) -> None:
    expressions = [*in_dashboards(), *in_keda(), *in_adapter(), *in_analyses()]
    wanted = [{"record": f"panel:{i}", "expr": e} for i, e in enumerate(expressions)]
    groups = {"groups": [{"name": "panels", "rules": [{**rule, "record": "panel:value"} for rule in wanted]}]}
    for i, rule in enumerate(groups["groups"][0]["rules"]):  # type: ignore[arg-type]
        rule["labels"] = {"panel": str(i)}  # type: ignore[index]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump(groups))
    _promtool("check", "rules", "panels.yaml", folder=tmp_path)


def test_each_rule_is_tried_both_ways() -> None:
    document = yaml.safe_load(Path(__file__).with_name("rules_test.yaml").read_text())
    fires, silent = set(), set()
    for case in document["tests"]:
        for tried in case.get("alert_rule_test", []):
            # An alert of several windows has a rule for each.
            fires |= {(tried["alertname"], alert["exp_labels"].get("window")) for alert in tried["exp_alerts"]}
            if not tried["exp_alerts"]:
                silent.add(tried["alertname"])
    assert fires == {(alert["alert"], alert["labels"].get("window")) for alert in alerts()}
    assert silent == {alert["alert"] for alert in alerts()}


def test_each_record_is_tried() -> None:
    document = yaml.safe_load(Path(__file__).with_name("rules_test.yaml").read_text())
    tried = {test["expr"] for case in document["tests"] for test in case.get("promql_expr_test", [])}
    assert tried == {rule["record"] for rule in rules() if "record" in rule}


def test_objectives_burn_over_the_windows_of_the_book() -> None:
    """The Site Reliability Workbook, chapter 5: two days' pace, five days' and thirty days'."""
    burns = {("1h", "5m"): 14.4, ("6h", "30m"): 6.0, ("3d", "6h"): 1.0}
    for name, budget in (("FerryAvailabilityBudgetBurn", 0.001), ("FerryLatencyBudgetBurn", 0.01)):
        found = {}
        for alert in alerts():
            if alert["alert"] == name:
                long, short = re.findall(r":ratio_rate(\w+) > ([\d.]+) \* ([\d.]+)", alert["expr"])
                assert long[1:] == short[1:]
                assert float(long[2]) == budget
                assert alert["labels"]["window"] == long[0]
                found[long[0], short[0]] = float(long[1])
        assert found == burns


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        page = ROOT / alert["annotations"]["runbook"]
        assert page.name == f"{alert['alert']}.md"
        text = page.read_text()
        for heading in ("## What it means", "## Look here", "## Do this"):
            assert heading in text, page
    assert {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("page", sorted((ROOT / "docs/runbooks").glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_names_dashboards_panels_and_pages_that_exist(page: Path) -> None:
    dashboards = {
        loaded["title"]: loaded for path in GRAFANA.glob("*.json") if (loaded := json.loads(path.read_text()))
    }
    text = page.read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (page.parent / link).is_file(), link
    # A step names a dashboard in bold, then its rows and panels in italics.
    for step in re.split(r"\n(?=\d\. |##)", text):
        named = re.findall(r"\*\*(Ferry: \w+)\*\*", step)
        if named:
            titles = {panel["title"] for name in named for panel in dashboards[name]["panels"]}
            assert set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", step)) <= titles
    known = {metric["title"] for board in dashboards.values() for metric in board["panels"]} | set(dashboards)
    assert not {bold for bold in re.findall(r"\*\*(.+?)\*\*", text) if bold.startswith("Ferry")} - known


def test_people_are_called_only_when_users_suffer_or_nobody_can_see() -> None:
    called = {alert["alert"] for alert in alerts() if alert["labels"]["severity"] == "page"}
    assert called == {
        "FerryAvailabilityBudgetBurn",
        "FerryCannotAnswer",
        "FerryLatencyBudgetBurn",
        "FerryMetricsMissing",
    }
