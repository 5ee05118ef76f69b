"""`ferry bench load`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.load import picture
from benchmarks.load.knee import climb, knee
from benchmarks.load.mix import Mix
from benchmarks.load.run import PERCENTILES, Load, Step, send
from benchmarks.load.schedule import Arrivals
from cli.connect import Credentials
from serving.cpu import available_cpus, cpu_name

T = TypeVar("T")


def load(
    address: Annotated[str, typer.Argument(help="The gateway's host:port.")] = "localhost:50051",
    rate: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=100_000, show_default="10", help="Requests a second; repeat it for several steps."),
    ] = None,
    find_knee: Annotated[
        bool, typer.Option("--knee", help="Climb from the (first) rate until answers fall off.")
    ] = False,
    arrivals: Annotated[Arrivals, typer.Option(help="Distances between requests.")] = Arrivals.POISSON,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="Length of each step.")] = 10.0,
    size: Annotated[list[str] | None, typer.Option(metavar="WxH[=SHARE]", help="Sizes; 640x480.")] = None,
    faces: Annotated[list[str] | None, typer.Option(metavar="N[=SHARE]", help="Faces of a picture; 1.")] = None,
    cached: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that repeat one of a few.")] = 0.0,
    tta: Annotated[float, typer.Option(min=0, max=1, help="Share with test-time augmentation.")] = 0.0,
    processes: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Processes that send.")] = 2,
    timeout: Annotated[float, typer.Option(min=0.01, max=300, help="Deadline of a call, seconds.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 16,
    out: Annotated[Path, typer.Option(help="Folder for load.json and load.svg.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Send requests to a running gateway when they are due, whatever became of those before (an open loop).

    Latencies count from when a request was due: a gateway that stalls is charged for all that waits meanwhile.
    """
    try:
        mix = Mix(_shares(size, _size) or Mix().sizes, _shares(faces, int) or Mix().faces, cached, tta)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 100)
    with Credentials().client(address, timeout=5) as client:
        client.status()  # whoever is not there is not waited for
    order = Load(address, mix, arrivals, seconds, processes, timeout, seed)
    rates = rate or [10.0]

    def told(step: Step) -> None:
        console.print(f"{step.rate:.1f}/s: p99 {step.percentiles[99.0]:.0f} ms", style="dim")

    if find_knee:
        steps = climb(lambda at: send(replace(order, seed=order.seed + int(at)), at), rates[0], told)
    else:
        steps = [send(order, at) for at in rates]
    title = f"{arrivals}, {cpu_name()}, {available_cpus()} CPUs"
    console.print(_table(steps, title))
    found = knee(steps) if find_knee else None
    if find_knee:
        console.print(f"knee: {found.rate:.1f} requests/s" if found else "not even the first rate is answered")
    record = {"steps": [step.record() for step in steps], "knee": found.rate if found else None, "machine": title}
    out.mkdir(parents=True, exist_ok=True)
    (out / "load.json").write_text(json.dumps(record, indent=1) + "\n")
    if picture.draw(steps, title, out / "load.svg"):
        console.print(f"{out / 'load.json'}, {out / 'load.svg'}")
    if as_json:
        print(json.dumps(record))


def _table(steps: list[Step], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("sent/s", "answered/s", *(f"p{share:g} ms" for share in PERCENTILES), "late ms", "not answered"):
        table.add_column(column, justify="right")
    for step in steps:
        failures = ", ".join(f"{count} {code}" for code, count in step.codes.items() if code != "OK")
        latencies = [f"{step.percentiles[share]:.1f}" for share in PERCENTILES]
        table.add_row(f"{step.rate:.1f}", f"{step.per_second:.1f}", *latencies, f"{step.late_ms:.0f}", failures)
    return table


def _shares(texts: list[str] | None, read: Callable[[str], T]) -> tuple[tuple[T, float], ...]:
    """`640x480=0.5` and the like.

    Raises:
        ValueError: one is something else.
    """
    found = []
    for text in texts or []:
        name, _, share = text.partition("=")
        found.append((read(name), float(share or 1)))
    return tuple(found)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)
