"""`ferry capacity` as operators call it."""

from __future__ import annotations

import json

from tests.cli.test_main import ferry_command
from tests.processes import ROOT


def test_a_load_is_planned_from_the_checkout() -> None:
    run = ferry_command("capacity", "--images-per-second", "5000", "--json", cwd=ROOT)
    assert run.returncode == 0, run.stderr
    plan = json.loads(run.stdout)
    assert plan["load"]["images_per_second"] == 5000
    assert plan["totals"]["pods"] == sum(service["pods"] for service in plan["services"].values())
    assert plan["redis"]["memory"] > 0
    assert plan["note"]


def test_it_says_where_the_maximum_must_be_raised() -> None:
    run = ferry_command("capacity", "--images-per-second", "5000", cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "Raise maxReplicas of detector (20)" in run.stdout
    assert "Redis" in run.stdout


def test_in_another_folder_the_manifests_are_found_as_the_costs_are(tmp_path) -> None:
    run = ferry_command("capacity", "--images-per-second", "10", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "Redis" in run.stdout


def test_a_folder_without_manifests_is_said_with_its_option(tmp_path) -> None:
    run = ferry_command("capacity", "--images-per-second", "10", "--manifests", str(tmp_path), cwd=ROOT)
    assert run.returncode == 2
    assert "--manifests" in run.stderr
    assert "deploy/k8s/base" in run.stderr
