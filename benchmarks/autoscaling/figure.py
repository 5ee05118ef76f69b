"""Plots of a run: load, replicas, requests in flight and p95, over time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.autoscaling.outcome import OBJECTIVE_SECONDS, End, Outcome

STEP = 15
"""Seconds of one point."""
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Seconds, of p95."""


def draw(outcomes: Sequence[Outcome], path: Path) -> bool:
    """One column for each scenario.

    Args:
        outcomes: one or more.
        path: of the PNG; its folder is made where missing.

    Returns:
        False where matplotlib (of the toolchain) is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(3.6 * len(outcomes) + 0.6, 7.2), dpi=72, layout="constrained")
    rows = figure.subplots(4, len(outcomes), squeeze=False, sharex="col")
    for column, outcome in enumerate(outcomes):
        load, replicas, in_flight, p95 = (row[column] for row in rows)
        edges = np.arange(0, outcome.scenario.seconds + 1, STEP)
        minutes = edges[:-1] / 60
        load.plot(minutes, np.histogram(outcome.arrived, edges)[0] / STEP, color="#3b76af", linewidth=1)
        shed = outcome.arrived[outcome.ends == End.SHED]
        if len(shed):
            load.plot(minutes, np.histogram(shed, edges)[0] / STEP, color="#c44e52", linewidth=1, label="shed")
            load.legend(loc="lower right", fontsize=7)
        load.set_title(outcome.scenario.name)
        for service, changes in outcome.changes.items():
            when = [c.when / 60 for c in changes] + [outcome.scenario.seconds / 60]
            count = [c.replicas for c in changes] + [changes[-1].replicas]
            replicas.step(when, count, where="post", linewidth=1.2, label=service)
        for service, held in outcome.in_flight.items():
            if service not in {"gateway", "ensembler"}:
                in_flight.plot(minutes, held.reshape(-1, STEP).mean(axis=1), linewidth=1, label=service)
        begins, seconds = outcome.quantiles(0.95)
        p95.plot(begins / 60, seconds, color="#3b76af", linewidth=1)
        p95.axhline(OBJECTIVE_SECONDS, color="#c44e52", linewidth=0.8, linestyle="--")
        p95.set_yscale("log")
        p95.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        p95.minorticks_off()
        p95.set_ylim(TICKS[0], TICKS[-1])
        p95.set_xlabel("minutes")
    for axes, label in zip(rows[:, 0], ("images/s", "replicas", "in flight, all pods", "p95 of 15 s, s"), strict=True):
        axes.set_ylabel(label)
    for axes in rows[:3].ravel():
        axes.set_ylim(bottom=0)
    rows[1, 0].legend(fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer)
    with Image.open(buffer) as image:
        # Few colours are in it; a palette makes it a third as large.
        image.convert("RGB").quantize(48).save(path, optimize=True)
    return True
