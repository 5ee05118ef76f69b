"""How the intervals of a report became what they are, as a picture."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.ab.metric import Finding, Metric
from cli.ab.report import Report


def draw(report: Report, path: Path) -> None:
    """One panel a metric and comparison: the interval of the difference at the moments at which it was looked at.

    Raises:
        ValueError: a kind of file that cannot be written.
    """
    from matplotlib.figure import Figure

    panels = [
        (comparison.new, comparison.old, finding)
        for comparison in report.comparisons
        for metric, finding in comparison.findings.items()
        if metric is not Metric.AGREEMENT
    ]
    figure = Figure(figsize=(8, 2.4 * max(len(panels), 1)), dpi=100, layout="constrained")
    axes = figure.subplots(max(len(panels), 1), 1, squeeze=False).ravel()
    for axis, (new, old, finding) in zip(axes, panels, strict=False):
        _panel(axis, new, old, finding)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _panel(axis: Any, new: str, old: str, finding: Finding) -> None:
    factor, unit = (1.0, "ms") if finding.metric is Metric.LATENCY else (100.0, "points")
    known = [(time, low, high) for time, low, high in finding.path if math.isfinite(low) and math.isfinite(high)]
    axis.set_title(f"{finding.metric}: {finding.words}", fontsize=9, loc="left")
    axis.set_ylabel(f"{new} less {old},\n{unit}", fontsize=8)
    axis.axhline(0, color="0.3", lw=0.8)
    margin = factor * finding.judgement.margin
    axis.axhspan(-margin, margin, color="0.9", zorder=0)
    axis.grid(alpha=0.3)
    if not known:
        axis.text(0.5, 0.5, "too little to say", transform=axis.transAxes, ha="center", va="center", color="0.5")
        return
    # The last one holds until now; without a width it could not be seen.
    end, low, high = known[-1]
    known.append((end + max(0.03 * (end - known[0][0]), 1.0), low, high))
    times = [datetime.fromtimestamp(time).astimezone() for time, _, _ in known]
    lows, highs = ([factor * one[side] for one in known] for side in (1, 2))
    axis.fill_between(times, lows, highs, color="C0", alpha=0.25, step="post")
    axis.plot(times, [(a + b) / 2 for a, b in zip(lows, highs, strict=True)], color="C0", drawstyle="steps-post")
