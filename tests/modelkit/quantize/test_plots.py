"""The Pareto front holds what nothing else beats."""

from __future__ import annotations

import pytest

from modelkit.quantize.judge import loss
from modelkit.quantize.plots import Point, pareto
from modelkit.quantize.search import holds

pytestmark = pytest.mark.toolchain


def test_the_front_is_what_nothing_beats() -> None:
    exact, slow, fast, worse = Point("exact", 9, 0), Point("slow", 10, 0.1), Point("fast", 1, 0.2), Point("x", 2, 0.3)
    assert pareto([slow, exact, worse, fast]) == [fast, exact]
    assert pareto([]) == []


def test_the_loss_is_that_of_the_figure_that_lost_most() -> None:
    assert loss({"f1": 0.9, "accuracy": 0.5}, {"f1": 0.95, "accuracy": 0.48}) == pytest.approx(0.02)
    assert loss({"accuracy": 0.5}, {"accuracy": 0.6}) < 0


@pytest.mark.parametrize(
    ("lost", "gate", "expected"), [(0, 0, True), (-0.1, 0, True), (0.001, 0, False), (0.3 - 0.2, 0.1, True)]
)
def test_an_equal_loss_holds_the_gate(lost: float, gate: float, expected: bool) -> None:
    assert holds(lost, gate) is expected
