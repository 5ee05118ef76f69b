"""Figures of models as small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.judging.harder import lost
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


def draw_harder(reports: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """What harder pictures cost: `harder.png` of crops, and `harder-NAME.png` of a detector's photos.

    Args:
        reports: as `modelkit.judging.evaluate.evaluate` returns them; without figures of harder pictures none is drawn.
        folder: made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if any("harder" in report for report in reports):
        drawn.append(folder / "harder.png")
        _draw_crops(reports, drawn[-1])
    for report in reports:
        if "harder_photos" in report:
            drawn.append(folder / f"harder-{report['model']}.png")
            _draw_photos(report["harder_photos"], drawn[-1])
    return drawn


def _draw_crops(reports: Sequence[Mapping[str, Any]], path: Path) -> None:
    kinds = {"size": "side of the face, px", "light": "light left", "side light": "light left at one side"}
    kinds["roll"] = "rolled by, degrees"
    figure, places = figure_of(len(kinds))
    for axes, (kind, words) in zip(places, kinds.items(), strict=True):
        for model, points in lost(reports, kind).items():
            axes.plot(*zip(*points, strict=True), ".-", linewidth=0.9, label=model)
        axes.set(xlabel=words, ylabel="accuracy", ylim=(0, 1))
        axes.grid(alpha=0.3)
    places[0].legend(fontsize=7)
    figure.savefig(path)


def _draw_photos(kinds: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    figure, (axes,) = figure_of(1)
    names = [f"{name} ({figures['n_faces']})" for name, figures in kinds.items()][::-1]
    for key, offset in (("recall", 0.2), ("precision", -0.2)):
        values = [figures[key] for figures in kinds.values()][::-1]
        axes.barh([i + offset for i in range(len(names))], values, height=0.38, label=key)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlim=(0, 1))
    axes.legend(fontsize=7, loc="lower left")
    axes.grid(alpha=0.3, axis="x")
    figure.savefig(path)


def figure_of(columns: int) -> tuple[Any, Any]:
    """A figure, without any display, and so many axes beside one another."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, 3.6), dpi=80, layout="constrained")
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
