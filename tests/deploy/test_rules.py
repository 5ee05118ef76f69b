"""Rules and dashboards as Prometheus itself reads them: syntax, and when alerts fire and when they do not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.expressions import alerts, in_analyses, in_dashboards, in_keda
from tests.deploy.manifests import K8S, ROOT

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: apt install prometheus)")


def _promtool(*arguments: str, folder: Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_are_sound_and_fire_when_they_should(tmp_path: Path) -> None:
    document = yaml.safe_load((K8S / "components/monitoring/prometheus-rule.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(document["spec"]))
    shutil.copy(Path(__file__).with_name("rules_test.yaml"), tmp_path)
    _promtool("check", "rules", "rules.yaml", folder=tmp_path)
    _promtool("test", "rules", "rules_test.yaml", folder=tmp_path)


@needs_promtool
def test_every_expression_is_promql(tmp_path: Path) -> None:
    wanted = [{"record": f"panel:{i}", "expr": e} for i, e in enumerate([*in_dashboards(), *in_keda(), *in_analyses()])]
    groups = {"groups": [{"name": "panels", "rules": [{**rule, "record": "panel:value"} for rule in wanted]}]}
    for i, rule in enumerate(groups["groups"][0]["rules"]):  # type: ignore[arg-type]
        rule["labels"] = {"panel": str(i)}  # type: ignore[index]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump(groups))
    _promtool("check", "rules", "panels.yaml", folder=tmp_path)


def test_each_alert_is_tried_both_ways() -> None:
    document = yaml.safe_load(Path(__file__).with_name("rules_test.yaml").read_text())
    fires, silent = set(), set()
    for case in document["tests"]:
        for expected in case.get("alert_rule_test", []):
            (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    names = {alert["alert"] for alert in alerts()}
    assert fires == names
    assert silent == names


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        page = ROOT / alert["annotations"]["runbook"]
        assert page.name == f"{alert['alert']}.md"
        text = page.read_text()
        for heading in ("## What it means", "## Look here", "## Do this"):
            assert heading in text, page
    assert {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} == {alert["alert"] for alert in alerts()}


def test_people_are_called_only_when_users_suffer_or_nobody_can_see() -> None:
    called = {alert["alert"] for alert in alerts() if alert["labels"]["severity"] == "page"}
    assert called == {"FerryAvailabilityBudgetBurn", "FerryLatencyBudgetBurn", "FerryMetricsMissing"}
