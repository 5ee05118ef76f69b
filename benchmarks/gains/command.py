"""`ferry bench gains`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.gains import answers, cluster, models, precision
from benchmarks.gains.report import save, table
from benchmarks.gains.row import Row
from cli.output import JsonOption, print_json
from serving.cpu import available_cpus, cpu_name
from serving.repository.repository import ModelRepository

CACHE = Path("~/.cache/ferry/training")


def gains(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the Parquet data; without it, accuracy is not measured.")
    ] = None,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of each loop.")] = 5.0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Crops to judge accuracy on; all by default.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Rows to measure; repeatable. All by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for gains.md, gains.json and gains.png.")] = Path("out"),
    as_json: JsonOption = False,
) -> None:
    """Measure each technique against its baseline, as ratios taken in one run. Stop other work first."""
    plan = Plan(models_dir, data, seconds, limit)
    unknown = sorted(set(only or ()) - set(plan.parts))
    if unknown:
        raise typer.BadParameter(
            f"there is no {unknown[0]!r}; choose from {', '.join(plan.parts)}", param_hint="--only"
        )
    console = Console(stderr=True)
    machine = f"{cpu_name()}, {available_cpus()} CPUs"
    rows: list[Row] = []
    for name in only or plan.parts:
        with console.status(f"measuring {name}"):
            rows += plan.parts[name]()
    record: dict[str, Any] = {
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "rows": [row.record() for row in rows],
    }
    written = save(rows, machine, record, out)
    if as_json:
        print_json(record)
        return
    Console(width=None if sys.stdout.isatty() else 200).print(table(rows, machine))
    console.print("written: " + ", ".join(str(path) for path in written))


@dataclass(frozen=True)
class Plan:
    """What there is to measure, by name."""

    models_dir: Path
    data: Path | None
    seconds: float
    limit: int | None

    @property
    def parts(self) -> dict[str, Callable[[], Iterator[Row]]]:
        """Each yields its rows."""
        repository = ModelRepository(self.models_dir)
        stored = [repository.open(name, "stable") for name in repository.names()]
        return {
            "precision": lambda: precision.reduced(stored, self.data, CACHE.expanduser(), self.limit, self.seconds),
            "tensorrt": lambda: precision.tensorrt(stored, self.data, CACHE.expanduser(), self.limit, self.seconds),
            "runtime": lambda: models.runtime(stored, self.seconds),
            "batch": lambda: models.batches(stored, self.seconds),
            "loaded": lambda: models.kept_loaded(stored, self.seconds),
            "cache": lambda: cluster.caching(self.models_dir, self.seconds),
            "micro-batching": lambda: cluster.micro_batching(self.models_dir, self.seconds),
            "ensemble": lambda: answers.ensemble_and_views(stored, self.data, self.limit, self.seconds),
        }
