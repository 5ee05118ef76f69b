"""`ferry bench choices`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.choices.measure import Cost, choices, measure
from serving.cpu import available_cpus, cpu_name

if TYPE_CHECKING:
    from benchmarks.choices.accuracy import Gain


def choices_command(
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    callers: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="At once.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Of each measurement.")] = 8.0,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=50, help="In turn through all choices.")] = 3,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled faces as `ferry models evaluate` takes them: say also what each choice brings."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Faces to judge, evenly spread; none: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what one classifier, a cascade, the vote of all, and several views cost on this machine, and bring.

    One face, JPEG of 640 x 480, the cluster as `ferry serve` starts it, no cache. With `--data`, how often each sees
    what most of the crowd saw (the label where nobody voted); a cascade's share of faces that go further is theirs.
    """
    told, asked = Console(stderr=True), choices()
    costs = measure(models_dir, asked, callers, seconds, rounds, told.print)
    brought: dict[str, Gain] = {}
    if data is not None:
        from benchmarks.choices.accuracy import gains

        told.print("the same choices on labelled faces")
        brought = gains(models_dir, asked, data, limit=limit)
    if as_json:
        rows = {name: asdict(cost) | (asdict(brought[name]) if brought else {}) for name, cost in costs.items()}
        typer.echo(json.dumps(rows))
        return
    title = f"one face, 640 x 480, {callers} callers; {cpu_name()}, {available_cpus()} CPUs"
    Console(width=None if sys.stdout.isatty() else 100).print(_table(costs, brought, title))


def _table(costs: dict[str, Cost], brought: dict[str, Gain], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    judged = ("accuracy", "mean recall", "further") if brought else ()
    for column in ("who judges", *judged, "images/s", "CPU ms", "p50 alone", "errors"):
        table.add_column(column, justify="left" if column == "who judges" else "right")
    for name, cost in costs.items():
        gain = _gain(brought[name]) if brought else ()
        told = [f"{cost.per_second:.1f}", f"{cost.cpu_ms:.1f}", f"{cost.p50_ms:.1f} ms", str(cost.errors)]
        table.add_row(name, *gain, *told)
    return table


def _gain(gain: Gain) -> tuple[str, str, str]:
    further = "" if gain.further is None else f"{gain.further:.1%}"
    return f"{gain.accuracy:.3f}", f"{gain.mean_recall:.3f}", further
