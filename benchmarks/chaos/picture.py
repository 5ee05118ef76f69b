"""A timeline for each fault: every request by when it was due and how long it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.run import Verdict

COLOURS = {"OK": "#3b76af", "DEGRADED": "#dd8452"}
FAILED = "#c44e52"
COLUMNS = 4


def draw(verdicts: Sequence[Verdict], path: Path) -> bool:
    """An SVG; False where matplotlib (of the toolchain) is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = math.ceil(len(verdicts) / COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.3 * rows), layout="constrained")
    for axes, verdict in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, verdicts, strict=False):
        outcome = verdict.outcome
        axes.axvspan(outcome.began, max(outcome.ended, outcome.began + 0.1), color="#eeeeee")
        for colour in (*COLOURS.values(), FAILED):
            chosen = [event for event in outcome.events if COLOURS.get(event[2], FAILED) == colour]
            axes.scatter([due for due, _, _ in chosen], [took * 1000 for _, took, _ in chosen], s=3, color=colour)
        axes.set_yscale("log")
        axes.tick_params(labelsize=6)
        axes.set_title(f"{verdict.fault}: {'as it should' if verdict.holds else 'missed'}", fontsize=8)
    figure.supxlabel("seconds; grey: the fault. Blue: complete, orange: degraded, red: failed", fontsize=8)
    figure.supylabel("ms", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg")
    return True
