"""Small pictures for the reports: what was tried, and accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelkit.quantize.search import Quantized


@dataclass(frozen=True, slots=True)
class Point:
    """A way to run a model: its name, milliseconds a run, and the loss against float32 (a share)."""

    name: str
    run_ms: float
    loss: float


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other point beats in both speed and accuracy, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.run_ms, p.loss)):
        if not front or point.loss < front[-1].loss:
            front.append(point)
    return front


def draw_pareto(title: str, points: Sequence[Point], gate: float, path: Path) -> None:
    """Loss against latency as a small PNG, the Pareto front starred and joined, the gate dashed."""
    figure, axes = _figure()
    front = pareto(points)
    axes.plot([p.run_ms for p in front], [100 * p.loss for p in front], color="#999999", drawstyle="steps-post")
    for point in points:
        name = f"{point.name} *" if point in front else point.name
        axes.scatter(point.run_ms, 100 * point.loss, label=name, zorder=3)
    axes.axhline(100 * gate, color="#c44e52", linestyle="--", label="gate")
    axes.set(xlabel="milliseconds a run", ylabel="points lost against float32", title=title)
    axes.legend(fontsize=7)
    figure.savefig(path)


def draw_attempts(title: str, result: Quantized, path: Path) -> None:
    """Loss by the number of blocks that were kept in float, as a small PNG."""
    figure, axes = _figure()
    kept = [attempt.blocks_in_float for attempt in result.attempts]
    axes.plot(kept, [100 * attempt.loss for attempt in result.attempts], marker="o")
    axes.axhline(100 * result.settings.gate, color="#c44e52", linestyle="--", label="gate")
    axes.set(xlabel="blocks of layers kept in float", ylabel="points lost against float32", title=title)
    axes.legend(fontsize=7)
    figure.savefig(path)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes
