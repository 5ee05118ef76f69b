"""The table of a soak: what grows, what does not, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.soak.slope import Slope

COLOURS = {"grows": "red", "steady": "green", "not shown": "yellow", "too short": "yellow"}


def table(slopes: Mapping[str, Slope], long_enough: bool, title: str) -> Table:
    """A row for each.

    Args:
        slopes: by name; one that ends with `ms` is a latency, the others are memory.
        long_enough: whether it lasted long enough to speak of an hour; else no slope is given.
        title: above it.
    """
    found = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("what", "mean", "slope", "standard error", "verdict"):
        found.add_column(column, justify="left" if column in {"what", "verdict"} else "right", no_wrap=True)
    for name, slope in slopes.items():
        unit = "ms" if name.endswith(" ms") else "MB"
        figures = (f"{slope.an_hour:+.1f} {unit}/h", f"{slope.error:.1f} {unit}/h") if long_enough else ("-", "-")
        verdict = slope.verdict if long_enough else "too short"
        mean = f"{slope.level:.1f} {unit}"
        found.add_row(name.removesuffix(" ms"), mean, *figures, f"[{COLOURS[verdict]}]{verdict}[/]")
    return found
