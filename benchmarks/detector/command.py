"""`ferry bench detector`: CPU milliseconds of each step of the detector's way, against a bare run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.detector.stages import Cost, Way, measure
from benchmarks.photo import one_face
from serving.cpu import available_cpus, cpu_name
from serving.memory import release_promptly
from serving.models.backends import BACKENDS, installed, load_backend
from serving.repository.repository import STABLE, ModelRepository


def detector(
    photo: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="A photo; none: one face, JPEG of 640 x 480.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="Length of the measurement.")] = 10.0,
    backend: Annotated[str, typer.Option(help=f"One of {', '.join(BACKENDS)}; auto: the quickest bare run.")] = "auto",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="bf16: of OpenVINO.")] = "fp32",
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """What an image costs in the detector, step by step, in this process, on one thread."""
    release_promptly()  # as a service does
    data = one_face() if photo is None else photo.read_bytes()
    stored = ModelRepository(models_dir).open("detector", STABLE)
    kinds = [(name, precision) for name in installed() if backend in {"auto", name}]
    loaded = [
        (f"{name} {kind}", load_backend(stored.file(), backend=name, precision=kind, threads=1))
        for name, kind in kinds
        if kind == "fp32" or name == "openvino"
    ]
    if not loaded:
        raise typer.BadParameter(f"no backend {backend!r} with precision {precision!r} is here")
    ways = [measure(stored, each, how, data, seconds / len(loaded)) for how, each in loaded]
    best = min(ways, key=lambda way: way.bare.cpu_ms)
    if as_json:
        record = {"machine": cpu_name(), "cpus": available_cpus(), "model": stored.manifest.digest[:12]}
        print(json.dumps(record | best.record(), indent=2))
        return
    console = Console(width=80)
    console.print(f"{cpu_name()}; {best.how}, one thread; input {list(best.shape)}, {best.faces} face(s)")
    console.print(_table(best))


def _table(way: Way) -> Table:
    table = Table(title=f"The detector's way of an image, medians of {way.rounds} rounds", title_justify="left")
    table.add_column("step")
    for column in ("CPU ms", "of a bare run", "page faults"):
        table.add_column(column, justify="right")

    def row(name: str, cost: Cost) -> None:
        table.add_row(name, f"{cost.cpu_ms:.2f}", f"{cost.cpu_ms / way.bare.cpu_ms:.3f}", f"{cost.page_faults:.0f}")

    for cost in way.stages:
        row(cost.stage, cost)
    table.add_section()
    row("the whole way", Cost("", way.total_ms, sum(cost.page_faults for cost in way.stages)))
    row("bare run", way.bare)
    row("bare run, full frame", way.bare_full)
    return table
