"""`ferry bench recording`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.recording.measure import measure
from cli.output import JsonOption


def recording(
    seconds: Annotated[float, typer.Option(min=6, max=600, help="Of each kind of load, with and without each.")] = 30.0,
    labels_per_call: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="1: each label a call of its own.")
    ] = 100,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Measure what recording costs cached answers, and 1,000 labels a second computed ones.

    In answers a second, and in processor time of the whole cluster for each, which other work on it sways less.
    """
    costs = measure(models_dir, seconds, labels_per_call)
    if as_json:
        print(json.dumps([cost.record() for cost in costs], indent=2))
        return
    table = Table(
        "what", "without /s", "with /s", "ratio", "CPU ms", "with", "ratio", "aim", "labels /s", "refused", "errors"
    )
    for cost in costs:
        table.add_row(
            cost.what,
            f"{median(cost.without):.1f}",
            f"{median(cost.with_it):.1f}",
            f"{cost.ratio:.3f}",
            f"{median(cost.cpu_without):.3f}",
            f"{median(cost.cpu_with):.3f}",
            f"{cost.cpu_ratio:.3f}",
            f">= {cost.aim:g}",
            f"{cost.labels:.0f}" if cost.labels else "",
            str(cost.refused),
            str(cost.errors),
        )
    Console(width=120).print(table)
