"""What is printed of two versions."""

from __future__ import annotations

import pytest

from cli.models.diff import print_comparison


def test_a_figure_that_one_version_has_not_is_a_dash_without_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    old = {"version": "1", "accuracy": 0.5, "ece": None, "per_class": {"happy": 0.25}}
    new = {"version": "2", "accuracy": 0.4375, "ece": 0.125, "per_class": {"happy": 0.75}}
    rest = {"agreement": 1.0, "only_a_right": 1, "only_b_right": 2, "p_value": 0.5, "verdict": "alike"}
    judged = {"model": "tiny", "n": 9, "split": "test", "run_ms": (2.0, 1.0), "speed_ratio": 2.0}
    print_comparison({**judged, "a": old, "b": new, **rest})
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["accuracy", "0.500", "0.438", "-0.062"] in rows
    assert ["ECE", "–", "0.125", ""] in rows
    assert ["recall happy", "0.250", "0.750", "+0.500"] in rows
