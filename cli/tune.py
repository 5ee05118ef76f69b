"""`ferry tune`: measures how this machine runs each model best, keeps the answer beside the model, shows it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.models_dir import MODELS_DIR
from cli.serve import ModelsDirOption
from serving.cpu import available_cpus, cpu_name
from serving.errors import NotFoundError
from serving.models import tuning
from serving.models.backends.gpu import GpuSettings, find_gpu
from serving.repository.repository import InvalidModelError, ModelRepository, StoredModel

BATCHES = (1, 2, 4, 8, 16)


def tune(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Models; all by default.")] = None,
    models_dir: ModelsDirOption = MODELS_DIR,
    engine_cache: Annotated[
        Path | None, typer.Option(envvar="FERRY_ENGINE_CACHE", help="Folder of TensorRT's engines.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.05, max=60, help="Time for each way of running a model.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Measure backends, precisions, threads and batch sizes on this machine.

    Services started afterwards use what was found fastest in float32, and, with --optimized, also reduced precision
    whose accuracy `ferry models optimize` or `quantize` has found good, or whose scores stay within 0.02 of float32.
    Stop other work first: what runs beside it is measured too. Where there is a GPU with TensorRT, engines that are not
    in the cache yet are built, which takes minutes.
    """
    repository = ModelRepository(models_dir)
    chosen = names or repository.names()
    if not chosen:
        raise typer.BadParameter(f"there are no models in {models_dir}; name another place with --models-dir")
    try:
        stored = [repository.open(name, "stable") for name in chosen]
    except (NotFoundError, InvalidModelError) as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 120)
    threads = sorted({1, available_cpus()})
    reports = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(stored) * len(threads))
        for model in stored:
            measurements: list[tuning.Measurement] = []
            for count in threads:
                progress.update(task, description=f"{model.manifest.name}, {count} thread(s)")
                tried = tuning.candidates(count, BATCHES, reduced=True, manifest=model.manifest)
                measurements += tuning.measure(model, tried, seconds, GpuSettings(max(BATCHES), engine_cache))
                progress.advance(task)
            kept = tuning.write(model, measurements)
            reports.append((model, measurements, kept))
    if as_json:
        print(json.dumps([_record(*report) for report in reports], indent=2))
        return
    gpu = find_gpu()
    console.print(f"{cpu_name()}, {available_cpus()} CPUs{f', {gpu.name}' if gpu else ''}")
    for report in reports:
        console.print(_table(*report))


def _record(model: StoredModel, measurements: list[tuning.Measurement], kept: Path | None) -> dict[str, object]:
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "gpu": getattr(find_gpu(), "name", None),
        "kept": None if kept is None else str(kept),
        "measurements": [asdict(m) for m in measurements],
    }


def _table(model: StoredModel, measurements: list[tuning.Measurement], kept: Path | None) -> Table:
    best = tuning.fastest(measurements, reduced=False)
    best_reduced = tuning.fastest(measurements, reduced=True)
    base = next(m for m in measurements if m.candidate.batch == 1)
    where = "not kept: nowhere to write" if kept is None else f"kept in {kept.name}"
    table = Table(title=f"{model.manifest.name} {model.manifest.version} ({where})", title_justify="left")
    for column in ("backend", "precision", "threads", "batch", "run ms", "rows/s", "x first row", "difference", ""):
        numeric = column not in {"backend", "precision", ""}
        table.add_column(column, justify="right" if numeric else "left")
    for m in measurements:
        c = m.candidate
        marks = ["default"] * (m is best) + ["--optimized"] * (m is best_reduced)
        table.add_row(
            c.backend,
            c.precision,
            str(c.threads),
            str(c.batch),
            f"{m.run_ms:.2f}",
            f"{m.rows_per_second:.1f}",
            f"{m.rows_per_second / base.rows_per_second:.2f}",
            f"{m.difference:.4f}",
            ", ".join(marks),
        )
    return table
