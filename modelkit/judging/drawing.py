"""Figures of models as small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.expressions import EXPRESSIONS


def draw_confusion(counts: npt.NDArray[np.int64], title: str, path: Path) -> None:
    """A confusion matrix (int64 [7, >= 7]: true by row, predicted by column) as a small PNG, in shares of each row."""
    figure, (axes,) = figure_of(1)
    square = counts[:, : len(EXPRESSIONS)]
    shares = square / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [expression.value for expression in EXPRESSIONS]
    axes.set(xlabel="predicted", ylabel="labelled", title=title)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    for (i, j), share in np.ndenumerate(shares):
        axes.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=7, color="white" if share > 0.6 else "black")
    figure.savefig(path)


def draw_confusions(reports: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """What each model takes for what, by the crowd where it was asked: `confusion-<model>.png` in the folder.

    Args:
        reports: as `modelkit.judging.evaluate.evaluate` returns them; one without figures of expression has no picture.
        folder: made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for report in reports:
        figures = report.get("crowd", report)
        if "confusion" in figures:
            by = "crowd" if "crowd" in report else "label"
            drawn.append(folder / f"confusion-{report['model']}.png")
            draw_confusion(
                np.array(figures["confusion"]), f"{report['model']}, {report['data']['split']}, {by}", drawn[-1]
            )
    return drawn


def figure_of(columns: int) -> tuple[Any, Any]:
    """A figure, without any display, and so many axes beside one another."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, 3.6), dpi=80, layout="constrained")
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
