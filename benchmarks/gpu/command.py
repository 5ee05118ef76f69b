"""`ferry bench gpu models` and `ferry bench gpu cluster`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from benchmarks.gpu.cluster import measure_cluster
from benchmarks.gpu.measure import Found, Plan, measure
from benchmarks.gpu.report import draw, save, table
from cli.models_dir import served
from serving.cpu import available_cpus, cpu_name
from serving.models.backends.gpu import find_gpu, lacks, runtime_version


def measure_models(
    models: Annotated[list[str] | None, typer.Argument(help="Names; all by default.")] = None,
    *,
    provider: Annotated[
        Literal["cuda", "cpu"], typer.Option(help="cpu: only what needs no GPU, to try this command.")
    ] = "cuda",
    data: Annotated[
        Path | None, typer.Option(help="Folder with the Parquet data to compare answers on; else a sample photo.")
    ] = None,
    pictures: Annotated[int, typer.Option(metavar="N", min=1, help="To compare answers on; of photos a tenth.")] = 1000,
    batch: Annotated[list[int] | None, typer.Option(min=1, max=1024, help="Rows of a run; repeatable.")] = None,
    seconds: Annotated[float, typer.Option(min=0.01, max=60, help="For each measurement.")] = 0.5,
    budget: Annotated[float, typer.Option(min=1, help="Seconds for all; each model gets a like share.")] = 1800.0,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for gpu.json, gpu.md and gpu.png.")] = Path("out"),
) -> None:
    """Measure speed and agreement of the models on an NVIDIA GPU against this machine's CPU. Stop other work first."""
    errors = Console(stderr=True)
    missing = lacks("cuda") if provider == "cuda" else ""
    if missing:
        errors.print(f"[red]Error:[/] cuda cannot be used: {missing}", soft_wrap=True)
        raise typer.Exit(1)
    batches = sorted(set(batch or (1, 8, 16, 32, 64)))
    gpu, stored = find_gpu() if provider == "cuda" else None, served(models_dir, models or ())
    machine = f"{gpu.name if gpu else 'no GPU'}, {cpu_name()}, {available_cpus()} CPUs"
    record: dict[str, Any] = {
        "gpu": gpu.name if gpu else None,
        "compute_capability": gpu.compute_capability if gpu else None,
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "onnxruntime": runtime_version(),
    }
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as scratch:
        record["models"] = {model.manifest.name: model.manifest.digest for model in stored}
        plan = Plan(batches, seconds, pictures, data, budget, gpu is not None)
        for row in measure(stored, plan, Path(scratch)):
            found.append(row)
            save(found, batches, machine, record, out)
            rates = ", ".join(f"{speed.batch}: {speed.rows_per_second:.0f}" for speed in row.speeds)
            errors.print(f"{row.model}: {row.way}: {rates} images/s; {row.note}", soft_wrap=True, highlight=False)
    try:
        draw(found, machine, out / "gpu.png")
    except ModuleNotFoundError as error:
        errors.print(f"no picture: {error.name} is not installed")
    Console(width=None if sys.stdout.isatty() else 300).print(table(found, batches, machine))


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Measure on a GPU.")
app.command("models")(measure_models)
app.command("cluster")(measure_cluster)
