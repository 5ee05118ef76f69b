"""`ferry bench gpu cluster`: the whole cluster with its models on a GPU, and on this machine's CPU."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.closed_loop import LoadResult
from benchmarks.gains.cluster import drive
from cli.cluster import Cluster, ClusterSettings
from serving.cpu import available_cpus, cpu_name
from serving.models.backends.gpu import find_gpu, lacks, runtime_version

CALLERS = (1, 8, 32, 128)
FILE = "gpu-cluster.json"


def measure_cluster(
    device: Annotated[list[str] | None, typer.Option(help="cuda or cpu; repeatable. Both by default.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Most rows of a run on the GPU.")] = 32,
    callers: Annotated[list[int] | None, typer.Option(min=1, max=1024, help="At the same time; repeatable.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of each loop.")] = 5.0,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for gpu-cluster.json.")] = Path("out"),
) -> None:
    """Measure answers per second of the whole cluster, one face a photo, nothing cached. Stop other work first."""
    errors = Console(stderr=True)
    devices = device or ["cuda", "cpu"]
    missing = lacks("cuda") if "cuda" in devices else ""
    if missing:
        errors.print(f"[red]Error:[/] cuda cannot be used: {missing}", soft_wrap=True)
        raise typer.Exit(1)
    gpu = find_gpu()
    found: dict[str, list[LoadResult]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name in devices:
        settings = ClusterSettings(
            port=0,
            models_dir=models_dir,
            device=name,
            batch_size=batch_size if name == "cuda" else None,
            cache=False,
            embedded_redis=False,
            log_level="warning",
        )
        with Cluster(settings) as cluster:
            for count in callers or CALLERS:
                load = asyncio.run(drive(cluster.address, count, seconds, bypass_cache=True))
                found.setdefault(name, []).append(load)
                errors.print(f"{name}: {load}", soft_wrap=True, highlight=False)
                record: dict[str, Any] = {
                    "gpu": gpu.name if gpu else None,
                    "machine": cpu_name(),
                    "cpus": available_cpus(),
                    "onnxruntime": runtime_version(),
                    "batch_size": batch_size,
                    "loads": {own: [asdict(each) for each in loads] for own, loads in found.items()},
                }
                (out / FILE).write_text(json.dumps(record, indent=1) + "\n")
    title = f"Whole cluster, {gpu.name if gpu else 'no GPU'}, {cpu_name()}, {available_cpus()} CPUs"
    table = Table("models on", "callers", "images/s", "p50 ms", "p95 ms", "errors", title=title, title_justify="left")
    for name, loads in found.items():
        for load in loads:
            figures = (f"{load.per_second:.0f}", f"{load.p50_ms:.1f}", f"{load.p95_ms:.1f}", str(load.errors))
            table.add_row(name, str(load.callers), *figures)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
