"""Every benchmark is reached by one command, by its name."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from tests.cli.test_main import ferry_command

ROOMS = [
    "autoscaling",
    "cancelled",
    "chaos",
    "choices",
    "counting",
    "detector",
    "gains",
    "gpu",
    "load",
    "peers",
    "recording",
    "scaling",
]
ROOMS += ["soak", "speed", "where"]


@pytest.mark.parametrize("arguments", [[room] for room in ROOMS] + [["gpu", "models"], ["gpu", "cluster"]])
def test_each_tells_its_options(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert " ".join(arguments) in result.stdout
    assert "Usage" in result.stdout


def test_the_entrance_lists_them_and_is_a_command_of_ferry() -> None:
    shown = ferry_command("bench", "--help").stdout
    assert all(room in shown for room in ROOMS)
    assert "ferry bench autoscaling" in ferry_command("bench", "autoscaling", "--help").stdout
