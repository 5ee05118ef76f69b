"""`ferry bench load`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.load import picture
from benchmarks.load.knee import climb, knee
from benchmarks.load.mix import Mix
from benchmarks.load.run import ANSWERED, PERCENTILES, Load, Step, send
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
        bool,
        typer.Option("--knee", help="Climb from the (first) rate to the knee, the last rate that is answered well."),
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

    Latencies count from when a request was due: a gateway that stalls is charged for all that waits meanwhile. A
    percentile that too few answers tell is left out: p99.9 needs a thousand.

    "late ms" says by how much the latest request was sent after it was due. Where that is much, these senders are the
    limit and not the gateway: give them more --processes.

    The knee is the last rate before p99 is above five times that of the first step, or more than 3 % get no answer.
    """
    try:
        mix = Mix(_shares(size, _size) or Mix().sizes, _shares(faces, int) or Mix().faces, cached, tta)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(stderr=as_json, soft_wrap=True)
    with Credentials().client(address, timeout=5) as client:
        client.status()  # whoever is not there is not waited for
    order = Load(address, mix, arrivals, seconds, processes, timeout, seed)
    rates = rate or [10.0]

    def told(step: Step) -> None:
        console.print(f"{step.rate:.1f}/s: p99 {_number(step.percentile(99.0), 0)} ms", style="dim")

    if find_knee:
        steps = climb(lambda at: send(replace(order, seed=order.seed + int(at)), at), rates[0], told)
    else:
        steps = [send(order, at) for at in rates]
    title = f"{arrivals}, {cpu_name()}, {available_cpus()} CPUs"
    console.print(table(steps, title))
    for step in steps:
        if failures := ", ".join(f"{count} {code}" for code, count in step.codes.items() if code not in ANSWERED):
            console.print(f"not answered at {step.rate:.1f}/s: {failures}")
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


def table(steps: list[Step], title: str) -> Table:
    """A row for each step, 80 columns wide."""
    found = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0))
    percentiles = [f"p{share:g}" for share in PERCENTILES]
    percentiles[0] += " ms"
    for column in ("wanted/s", "sent/s", "answered/s", *percentiles, "late ms", "failed"):
        found.add_column(column, justify="right", no_wrap=True)
    for step in steps:
        latencies = [_number(step.percentile(share)) for share in PERCENTILES]
        rates = [f"{rate:.1f}" for rate in (step.rate, step.sent, step.per_second)]
        found.add_row(*rates, *latencies, f"{step.late_ms:.0f}", f"{step.failed:.1%}" if step.failed else "")
    return found


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


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
