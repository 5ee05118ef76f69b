"""What was found, for people: on the terminal, as Markdown, as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.gpu.measure import Found
from benchmarks.gpu.ways import BASE


def table(found: Sequence[Found], batches: Sequence[int], machine: str) -> Table:
    """For the terminal."""
    result = Table(title=machine, title_justify="left")
    for column in columns(batches):
        result.add_column(column, justify="left" if column in {"model", "way", "note"} else "right")
    for row in found:
        result.add_row(*cells(row, batches, _base(row, found)))
    return result


def columns(batches: Sequence[int]) -> list[str]:
    """Headings of `cells`."""
    rates = [f"images/s, batch {batch}" for batch in batches]
    return ["model", "way", "p50 ms, batch 1", *rates, "max |Δp|", "same first class", "load s", "note"]


def cells(row: Found, batches: Sequence[int], base: Found | None) -> list[str]:
    """One text for each heading.

    Args:
        row: what was found.
        batches: of the columns.
        base: the same model on all threads of the CPU, for ratios; None: there are none.
    """
    speeds = {speed.batch: speed for speed in row.speeds}
    bases = {speed.batch: speed.rows_per_second for speed in base.speeds} if base is not None else {}
    rates = []
    for batch in batches:
        speed = speeds.get(batch)
        ratio = f" ({speed.rows_per_second / bases[batch]:.1f}x)" if speed and batch in bases and row != base else ""
        rates.append("–" if speed is None else f"{speed.rows_per_second:.0f}{ratio}")
    one, same = speeds.get(1), row.agreement
    return [
        row.model,
        row.way,
        "–" if one is None else f"{one.run_ms:.2f}",
        *rates,
        "–" if same is None else f"{same.max_difference:.1e}",
        "–" if same is None else f"{same.same_first:.2%} of {same.pictures}",
        "–" if row.load_s is None else f"{row.load_s:.1f}",
        row.note,
    ]


def save(found: Sequence[Found], batches: Sequence[int], machine: str, record: dict[str, Any], folder: Path) -> None:
    """Writes gpu.json and gpu.md as they are so far; each takes its place at once."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# Models on {machine}",
        "",
        "Printed by `ferry bench gpu models`, all in one run. In brackets: multiples of the CPU's images per second.",
        "",
        "| " + " | ".join(columns(batches)) + " |",
        "|" + "---|" * len(columns(batches)),
        *("| " + " | ".join(cells(row, batches, _base(row, found))) + " |" for row in found),
    ]
    full = record | {"found": [row.record() for row in found]}
    for name, text in (("gpu.json", json.dumps(full, indent=1)), ("gpu.md", "\n".join(lines))):
        scratch = folder / f"{name}.tmp"
        scratch.write_text(text + "\n")
        scratch.replace(folder / name)


def draw(found: Sequence[Found], machine: str, path: Path) -> None:
    """Images per second by batch size, a panel for each model. Needs matplotlib."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row.model for row in found))
    figure = Figure(figsize=(4.6 * len(models), 4.6), dpi=100, layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        for row in found:
            if row.model == model and row.speeds:
                points = [(speed.batch, speed.rows_per_second) for speed in row.speeds]
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=row.way)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_title(model, fontsize=9)
        axes.set_xlabel("rows of a run")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=6)
    figure.supylabel("images per second", fontsize=9)
    figure.suptitle(machine, fontsize=9)
    figure.savefig(path)


def _base(row: Found, found: Sequence[Found]) -> Found | None:
    return next((other for other in found if other.model == row.model and other.way == BASE), None)
