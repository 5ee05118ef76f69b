"""Distributions of lately beside those of the reference, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.experiments.drift import Baseline
from gateway.routing.distributions import CELLS, Counts


def draw(reference: Baseline, found: Mapping[str, Counts], path: Path) -> None:
    """One panel a distribution: shares of the cells, the reference's and each variant's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2 * len(CELLS)), dpi=100, layout="constrained")
    panels = figure.subplots(len(CELLS), 1, squeeze=False).ravel()
    for panel, (name, cells) in zip(panels, CELLS.items(), strict=True):
        series = {f"reference ({reference.variant})": reference.counts[name]}
        series |= {variant: tuple(counts[name]) for variant, counts in found.items()}
        width = 0.8 / len(series)
        for place, (label, counts) in enumerate(series.items()):
            whole = sum(counts) or 1
            at = [cell + (place - (len(series) - 1) / 2) * width for cell in range(len(cells))]
            color = "0.6" if not place else f"C{place - 1}"
            panel.bar(at, [count / whole for count in counts], width, label=label, color=color)
        panel.set_xticks(range(len(cells)), cells, fontsize=8)
        panel.set_title(name.replace("_", " ") + (", up to" if name != "expression" else ""), fontsize=9, loc="left")
        panel.grid(alpha=0.3, axis="y")
    panels[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
