"""The table of gains for people: on the terminal, as Markdown, as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.gains.row import Figures, Row

COLUMNS = ("technique", "model", "against", "throughput", "p50", "size", "accuracy", "promise", "note")


def cells(row: Row) -> tuple[str, ...]:
    """One text for each of COLUMNS."""
    return (
        row.technique,
        row.subject,
        row.against,
        _ratio(row, "per_second", "/s"),
        _ratio(row, "p50_ms", " ms"),
        _ratio(row, "megabytes", " MB"),
        _accuracy(row),
        row.promise,
        row.note,
    )


def table(rows: Sequence[Row], machine: str) -> Table:
    """For the terminal."""
    result = Table(title=f"What each technique brings on {machine}", title_justify="left", show_lines=False)
    for column in COLUMNS:
        result.add_column(column, justify="right" if column in {"throughput", "p50", "size", "accuracy"} else "left")
    for row in rows:
        result.add_row(*cells(row))
    return result


def markdown(rows: Sequence[Row], machine: str) -> str:
    """A Markdown document."""
    lines = [
        f"# What each technique brings on {machine}",
        "",
        "Each figure is the technique's own, and in brackets its ratio to the baseline, both taken in one run by "
        "`ferry bench gains`.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def save(rows: Sequence[Row], machine: str, record: dict[str, Any], folder: Path) -> list[Path]:
    """Writes gains.md, gains.json and, where matplotlib is installed, gains.png; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "gains.md", folder / "gains.json"]
    written[0].write_text(markdown(rows, machine))
    written[1].write_text(json.dumps(record, indent=2) + "\n")
    try:
        draw(rows, machine, folder / "gains.png")
    except ModuleNotFoundError:
        return written
    return [*written, folder / "gains.png"]


def draw(rows: Sequence[Row], machine: str, path: Path) -> None:
    """Bars of throughput against the baseline, on a logarithmic scale. Needs matplotlib."""
    from matplotlib.figure import Figure

    shown = [(f"{row.technique}: {row.subject}", row.ratio("per_second")) for row in reversed(rows)]
    bars = [(name, ratio) for name, ratio in shown if ratio is not None]
    figure = Figure(figsize=(9, 0.32 * len(bars) + 1.3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    names, ratios = [name for name, _ in bars], [ratio for _, ratio in bars]
    axes.barh(
        names, [ratio - 1 for ratio in ratios], left=1, color=["#3b76af" if r >= 1 else "#c44e52" for r in ratios]
    )
    for position, ratio in enumerate(ratios):
        axes.text(max(ratio, 1), position, f" {ratio:.2f}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("throughput as a multiple of the baseline's, logarithmic")
    axes.set_title(machine, fontsize=9)
    figure.savefig(path)


def _ratio(row: Row, field: str, unit: str) -> str:
    value, ratio = _value(row.measured, field), row.ratio(field)
    return "–" if value is None or ratio is None else f"{value:.3g}{unit} ({ratio:.2f}x)"


def _accuracy(row: Row) -> str:
    value, points = _value(row.measured, "accuracy"), row.points
    return "–" if value is None or points is None else f"{value:.3f} ({points:+.1f} points)"


def _value(figures: Figures | None, field: str) -> float | None:
    return None if figures is None else getattr(figures, field)
