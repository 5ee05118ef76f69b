"""What pages call by name is there under this name: settings, metrics, alerts, commands, flags, modules, components."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import typer
from prometheus_client import REGISTRY
from typer.main import get_command

import serving.telemetry.metrics  # noqa: F401
from cli.lazy import UNTOUCHED
from cli.main import app
from cli.settings import PAGE, SERVICES, page, variable
from serving.settings import misspelt
from tests.docs.pages import CODE, PACKAGES, PAGES, commands, name, text
from tests.processes import ROOT

PARTS = ("bucket", "count", "sum", "created", "total", "info")


@cache
def known_variables() -> set[str]:
    """Settings of services, and what else stands in code."""
    settings = {variable(field) for cls in SERVICES.values() for field in cls.model_fields}
    others = [*CODE, ROOT / "Makefile", *(ROOT / "deploy").rglob("*.yaml")]
    return settings.union(*(re.findall(r"FERRY_[A-Z0-9_]+", path.read_text(encoding="utf-8")) for path in others))


@cache
def known_metrics() -> set[str]:
    return {family.name for family in REGISTRY.collect() if family.name.startswith(("ferry_", "rpc_"))}


def test_the_page_of_settings_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m cli.settings writes it anew"


@pytest.mark.parametrize("cls", SERVICES.values(), ids=SERVICES)
def test_every_setting_says_what_it_is(cls: type) -> None:
    silent = [field for field, of in cls.model_fields.items() if not of.description]
    assert silent == []


@pytest.mark.parametrize("cls", SERVICES.values(), ids=SERVICES)
def test_no_variable_of_ferry_is_taken_for_a_slip_of_the_pen(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r'envvar="(FERRY_[A-Z0-9_]+)"', "".join(path.read_text(encoding="utf-8") for path in CODE))
    for known in {variable(field) for of in SERVICES.values() for field in of.model_fields}.union(commands):
        monkeypatch.setenv(known, "1")
    assert list(misspelt([cls])) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_variables_exist(page: Path) -> None:
    named = set(re.findall(r"FERRY_[A-Z0-9_]*[A-Z0-9]", text(page)))
    unknown = sorted(named - known_variables())
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_metrics_exist(page: Path) -> None:
    known = known_metrics() | {f"{metric}_{part}" for metric in known_metrics() for part in PARTS}
    unknown = sorted(set(re.findall(r"\b(?:ferry|rpc_server)_[a-z0-9_]*[a-z0-9]\b", text(page))) - known)
    assert unknown == []


def test_every_metric_is_on_a_page() -> None:
    pages = "\n".join(map(text, PAGES))
    silent = sorted(metric for metric in known_metrics() if not re.search(rf"\b{metric}(?:_total|_info)?\b", pages))
    assert silent == []


def test_operations_lists_every_alert_and_component() -> None:
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    alerts = {f"[{path.stem}](runbooks/{path.name})" for path in (ROOT / "docs/runbooks").glob("*.md")}
    missing = sorted(alert for alert in alerts if alert not in operations)
    assert missing == []
    (listed,) = re.findall(r"\n```\ndeploy/images/Dockerfile.*?```", operations, re.DOTALL)
    components = {path.name for path in (ROOT / "deploy/k8s/components").iterdir() if path.is_dir()}
    missing = sorted(components - set(re.findall(r"[a-z0-9-]+", listed)))
    assert missing == []


def test_architecture_lists_every_room() -> None:
    (table,) = re.findall(r"\n\| room \| holds \|\n\|[-|]+\n((?:\|.*\n)+)", text(ROOT / "docs/architecture.md"))
    listed = set()
    for row in table.splitlines():
        package = ""
        for room in re.findall(r"`([a-z0-9_/]+)`", row.split("|")[1]):
            package = room.partition("/")[0] if "/" in room else package
            listed.add(room if "/" in room else f"{package}/{room}")
    packages = sorted({room.partition("/")[0] for room in listed})
    rooms = {f"{of}/{path.parent.name}" for of in packages for path in (ROOT / of).glob("*/__init__.py")}
    assert listed == rooms


@cache
def dashboards() -> dict[str, set[str]]:
    """Titles of panels and rows by what a dashboard is called."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "deploy/grafana").glob("*.json")]
    return {
        board["title"].removeprefix("Ferry: ").lower(): {panel["title"] for panel in board["panels"]} for board in found
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_panels_are_on_the_dashboard_that_is_named(page: Path) -> None:
    for named, said in re.findall(r"(?:\*\*Ferry: |[Dd]ashboard \*)(\w+)\*\*?((?:[^.|*]|\*[^*]+\*)*)", text(page)):
        board = named
        for title in re.findall(r"\*([A-Z][^*]+)\*", said):
            if title.lower() in dashboards():
                board = title
            else:
                assert " ".join(title.split()) in dashboards()[board.lower()], f"{board}: {title}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_modules_and_targets_exist(page: Path) -> None:
    for words in commands(page, "python"):
        if words[0] == "-m" and words[1].split(".")[0] in PACKAGES:
            path = ROOT / words[1].replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), words
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands(page, "make"):
        goal = next((word.rstrip(",.:") for word in words if not re.match("[A-Z_]+=", word)), "help")
        assert goal in targets or not re.fullmatch("[a-z0-9-]+", goal), words


@cache
def opened(application: typer.Typer, word: str) -> Any:
    """What `word` stands for in an application, imported where it is only passed on to; None: nothing."""
    for group in application.registered_groups:
        if group.name == word:
            return group.typer_instance
    for entry in application.registered_commands:
        function = entry.callback
        assert function is not None
        if (entry.name or function.__name__.replace("_", "-")) != word:
            continue
        if "pass_on" in function.__globals__ and entry.context_settings == UNTOUCHED["context_settings"]:
            with patch.dict(function.__globals__, pass_on=Mock()) as seen:
                function(None)
                _, module, attribute = seen["pass_on"].call_args.args
            function = getattr(import_module(module), attribute)
            if isinstance(function, typer.Typer):
                return function
        single = typer.Typer(add_completion=False)
        single.command()(function)
        return get_command(single)
    return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_flags_exist(page: Path) -> None:
    for words in commands(page, "ferry"):
        if not re.fullmatch("[a-z][a-z-]*", words[0]):
            continue
        at, rest = app, words
        while isinstance(at, typer.Typer) and rest and not rest[0].startswith("-"):
            below = opened(at, rest[0])
            assert below is not None, words
            at, rest = below, rest[1:]
        parameters = getattr(at, "params", ())
        flags = {"-h", "--help"}.union(*((*parameter.opts, *parameter.secondary_opts) for parameter in parameters))
        given = {word.partition("=")[0].rstrip(",.;:)") for word in rest if re.match("--?[a-z]", word)}
        unknown = sorted(given - flags)
        assert unknown == [], words
