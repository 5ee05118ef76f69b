"""`ferry bench choices`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.choices.measure import Cost, choices, measure
from serving.cpu import available_cpus, cpu_name


def choices_command(
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    callers: Annotated[int, typer.Option(min=1, max=256, help="At once.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Of each measurement.")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="In turn through all choices.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what one classifier, the vote of all, and several views cost on this machine.

    One face, JPEG of 640 x 480, the cluster as `ferry serve` starts it, no cache. What each brings is printed by
    `ferry models evaluate`.
    """
    told = Console(stderr=True)
    costs = measure(models_dir, choices(), callers, seconds, rounds, told.print)
    if as_json:
        typer.echo(json.dumps({name: asdict(cost) for name, cost in costs.items()}))
        return
    title = f"one face, 640 x 480, {callers} callers; {cpu_name()}, {available_cpus()} CPUs"
    Console(width=None if sys.stdout.isatty() else 80).print(_table(costs, title))


def _table(costs: dict[str, Cost], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("who judges", "images/s", "CPU ms", "p50 alone", "errors"):
        table.add_column(column, justify="left" if column == "who judges" else "right")
    for name, cost in costs.items():
        table.add_row(name, f"{cost.per_second:.1f}", f"{cost.cpu_ms:.1f}", f"{cost.p50_ms:.1f} ms", str(cost.errors))
    return table
