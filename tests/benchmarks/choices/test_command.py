"""Costs of real clusters, one measurement of a second each."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.command import app

pytestmark = pytest.mark.e2e
MODELS = Path(__file__).parent.parent.parent.parent / "models"


@pytest.mark.slow
def test_every_choice_is_measured_and_none_fails() -> None:
    arguments = ["choices", "--models-dir", str(MODELS), "--seconds", "1", "--rounds", "1", "--callers", "2", "--json"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert list(told) == [
        "efficientnet alone", "arcface alone", "a cascade, below 0.57", "a cascade, every face", "the vote",
        "the vote, five views",
    ]  # fmt: skip
    assert all(cost["errors"] == 0 and cost["per_second"] > 0 and cost["cpu_ms"] > 0 for cost in told.values())
