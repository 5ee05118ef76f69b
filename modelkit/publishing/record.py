"""How a model came about: the record and the two pictures that are published beside its weights."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelkit.data.selection import Selection
from modelkit.judging.drawing import figure_of
from modelkit.training.heads import Point
from modelkit.training.recipes import Recipe
from modelkit.training.trainer import Epoch


def training_record(
    recipe: Recipe, selection: Selection, history: Sequence[Epoch], initial: str | None
) -> dict[str, Any]:
    """Data, settings, versions and course of a training run, as plain values."""
    import torch

    return {
        "data": {**selection.counts.as_record(), "digest": selection.train.digest},
        "recipe": recipe.as_record(),
        "initial_weights": initial,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(sum(epoch.seconds for epoch in history)),
        "history": [asdict(epoch) for epoch in history],
    }


def draw_curves(history: Sequence[Epoch], path: Path) -> None:
    """Loss and accuracy by epoch, as a small PNG."""
    figure, (left, right) = figure_of(2)
    epochs = [epoch.epoch for epoch in history]
    left.plot(epochs, [epoch.train_loss for epoch in history], label="training (augmented, margin)")
    left.plot(epochs, [epoch.validation_loss for epoch in history], label="held back")
    left.set(xlabel="epoch", ylabel="cross entropy")
    right.plot(epochs, [epoch.train_accuracy for epoch in history], label="training (augmented, margin)")
    right.plot(epochs, [epoch.validation_accuracy for epoch in history], label="held back")
    right.set(xlabel="epoch", ylabel="accuracy")
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path)


def draw_frontier(points: Sequence[Point], chosen: Point, path: Path) -> None:
    """What each way of joining two heads gives on held-back pictures, and the one that is served, as a small PNG."""
    figure, (left, right) = figure_of(2)
    for axes, name, of in (
        (left, "mean recall of the seven, crowd", lambda point: point.crowd_mean_recall),
        (right, "accuracy, label", lambda point: point.label_accuracy),
    ):
        for share in sorted({point.joint.label_share for point in points}):
            line = [point for point in points if point.joint.label_share == share]
            axes.plot([p.crowd_accuracy for p in line], [of(p) for p in line], ".-", color="0.75", lw=0.6, ms=2)
        for joint, label, marker in ((None, "votes alone", "s"), (chosen.joint, "served", "o")):
            point = points[0] if joint is None else chosen
            axes.plot(point.crowd_accuracy, of(point), marker, label=label)
        axes.set(xlabel="accuracy, crowd", ylabel=name)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path)
