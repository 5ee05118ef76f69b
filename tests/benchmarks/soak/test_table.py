"""Each slope has a unit and a verdict; what is too short to judge gets neither slope nor judgement."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.soak.slope import Slope
from benchmarks.soak.table import table
from tests.printed import printed

SLOPES = {
    "detector": Slope(50.0, 1.0, 200.0),
    "classifier-efficientnet": Slope(-8.0, 1.5, 60.0),
    "p99 ms": Slope(-48.0, 73.0, 342.0),
}


def shown(long_enough: bool) -> str:
    return printed(table(SLOPES, long_enough, "a title"))


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [
        (Slope(11, 5, 100), "grows"),
        (Slope(4, 0.4, 100), "steady"),
        (Slope(0, 0, 0), "steady"),
        (Slope(4, 1, 100), "not shown"),
        (Slope(-20, 30, 100), "not shown"),
        (Slope(20, 30, 100), "not shown"),
    ],
)
def test_noise_is_neither_growth_nor_steadiness(slope: Slope, verdict: str) -> None:
    assert slope.verdict == verdict


def test_slopes_have_units_and_verdicts() -> None:
    rows = [line.split() for line in shown(True).splitlines()]
    assert ["what", "mean", "slope", "standard", "error", "verdict"] in rows
    assert ["detector", "200.0", "MB", "+50.0", "MB/h", "1.0", "MB/h", "grows"] in rows
    assert ["p99", "342.0", "ms", "-48.0", "ms/h", "73.0", "ms/h", "not", "shown"] in rows


def test_what_is_too_short_is_not_judged() -> None:
    rows = [line.split() for line in shown(False).splitlines()]
    assert ["detector", "200.0", "MB", "-", "-", "too", "short"] in rows
    assert "/h" not in shown(False)


def test_too_few_readings_are_refused_before_anything_starts() -> None:
    refused = CliRunner().invoke(app, ["soak", "--minutes", "0.5", "--every", "10"])
    assert refused.exit_code == 2
    assert "too few readings" in refused.output
