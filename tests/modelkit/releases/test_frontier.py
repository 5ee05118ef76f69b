"""What can be had of the crowd and of the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modelkit.releases.frontier import Held, Mix, best_of, chosen_of, draw  # noqa: E402

pytestmark = pytest.mark.toolchain


def mix(accuracy: float, recall: float, label: float) -> Mix:
    return Mix((0.0,), (0.0,), 1.0, accuracy, recall, label)


def test_figures_of_many_answers_are_those_of_each_by_hand() -> None:
    held = Held(np.array([0, 0, 0, 3, -1]), np.array([0, 1, 0, 3, 5]))
    accuracy, recall, label = held.figures(np.array([[0, 0, 1, 3, 5], [3, 3, 3, 3, 3]]))
    assert accuracy.tolist() == pytest.approx([0.75, 0.25])
    assert recall.tolist() == pytest.approx([(2 / 3 + 1) / 2, 0.5])
    assert label.tolist() == pytest.approx([0.6, 0.2])


def test_only_what_nothing_beats_in_both_is_kept_and_drawn(tmp_path: Path) -> None:
    points = [mix(0.8, 0.7, 0.6), mix(0.9, 0.5, 0.5), mix(0.85, 0.6, 0.4), mix(0.7, 0.8, 0.7)]
    assert [point.accuracy for point in best_of(points, "mean_recall")] == [0.9, 0.85, 0.8, 0.7]
    assert [point.accuracy for point in best_of(points, "label_accuracy")] == [0.9, 0.8, 0.7]
    assert [point.accuracy for point in best_of(points, "label_accuracy", 0.7)] == [0.8, 0.7]
    assert chosen_of([*points, mix(0.84, 0.75, 0.3)]).accuracy == 0.84
    draw({"arcface": points}, tmp_path / "new" / "x.png")
    assert (tmp_path / "new" / "x.png").stat().st_size > 1000
