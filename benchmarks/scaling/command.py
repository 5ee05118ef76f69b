"""`ferry bench scaling`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.load.mix import picture
from benchmarks.peers.bench import serve
from benchmarks.peers.loops import Loop
from benchmarks.peers.running import Server
from serving.cpu import available_cpus, cpu_name

FACES = (1, 2, 4, 8, 16, 32, 64)
SIZES = ((320, 240), (640, 480), (1280, 960), (2560, 1920), (3840, 2880))
CALLERS = (1, 2, 4, 8, 16, 32, 64)
REPLICAS = (1, 2, 3)
BUSY = 8
"""Callers, where their number is not what grows."""
SHEET = (1600, 1200)
"""Pixels of a picture of which the number of faces grows."""


@dataclass(frozen=True, slots=True)
class Point:
    """One load on one cluster.

    Attributes:
        what: `faces`, `size`, `callers` or `replicas`.
        value: of it, for people.
        faces: found in the picture.
        cpu_ms: of an image.
    """

    what: str
    value: str
    faces: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    errors: int


def scaling(
    only: Annotated[
        list[str] | None, typer.Option(help="What grows: faces, size, callers, replicas; repeatable. All by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of each load.")] = 4.0,
    optimized: Annotated[bool, typer.Option("--optimized", help="As `ferry serve --optimized`.")] = False,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for scaling.json and scaling.svg.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Measure throughput, latency and CPU while faces, sizes, callers or replicas grow. Stop other work first."""
    if unknown := sorted(set(only or ()) - set(_GROWING)):
        raise typer.BadParameter(
            f"there is no {', '.join(unknown)}; choose from {', '.join(_GROWING)}", param_hint="--only"
        )
    console = Console(stderr=as_json, soft_wrap=True)
    flags = ["--models-dir", str(models_dir), *(["--optimized"] if optimized else [])]
    points: list[Point] = []
    for what in only or _GROWING:
        points += _GROWING[what](flags, seconds)
        console.print(table([point for point in points if point.what == what], what))
    record = {"machine": cpu_name(), "cpus": available_cpus(), "points": [asdict(point) for point in points]}
    out.mkdir(parents=True, exist_ok=True)
    (out / "scaling.json").write_text(json.dumps(record, indent=1) + "\n")
    if _draw(points, f"{cpu_name()}, {available_cpus()} CPUs", out / "scaling.svg"):
        console.print(f"{out / 'scaling.json'}, {out / 'scaling.svg'}")
    if as_json:
        print(json.dumps(record))


def _ferry(flags: list[str], body: bytes) -> Server:
    port, command = serve(*flags)
    return Server(command, {}, "ferry", port, body)


def _point(what: str, value: object, server: Server, loop: Loop) -> Point:
    figures = (loop.per_second, loop.percentile(50), loop.percentile(99), loop.cpu_ms, loop.errors)
    return Point(what, str(value), len(server.answer), *figures)


def _faces(flags: list[str], seconds: float) -> list[Point]:
    points = []
    for count in FACES:
        with _ferry(flags, picture(*SHEET, count)) as server:
            points.append(_point("faces", count, server, server.closed(BUSY, seconds)))
    return points


def _size(flags: list[str], seconds: float) -> list[Point]:
    points = []
    for width, height in SIZES:
        with _ferry(flags, picture(width, height, 1)) as server:
            points.append(_point("size", f"{width}x{height}", server, server.closed(BUSY, seconds)))
    return points


def _callers(flags: list[str], seconds: float) -> list[Point]:
    with _ferry(flags, picture(640, 480, 1)) as server:
        return [_point("callers", count, server, server.closed(count, seconds)) for count in CALLERS]


def _replicas(flags: list[str], seconds: float) -> list[Point]:
    points = []
    for count in REPLICAS:
        more = [f"--replicas={service}={count}" for service in ("ensembler", "detector", "classifier")]
        with _ferry([*flags, *more], picture(640, 480, 1)) as server:
            points.append(_point("replicas", count, server, server.closed(32, seconds)))
    return points


_GROWING = {"faces": _faces, "size": _size, "callers": _callers, "replicas": _replicas}


def table(points: list[Point], what: str) -> Table:
    """A row for each point, 80 columns wide."""
    found = Table(title=f"more {what}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 0))
    for column in (what, "faces found", "images/s", "p50 ms", "p99 ms", "CPU ms", "CPU ms a face", "errors"):
        found.add_column(column, justify="right", no_wrap=True)
    for p in points:
        a_face = f"{p.cpu_ms / p.faces:.1f}" if p.faces else ""
        found.add_row(p.value, str(p.faces), f"{p.per_second:.1f}", f"{p.p50_ms:.0f}", f"{p.p99_ms:.0f}",
                      f"{p.cpu_ms:.1f}", a_face, str(p.errors))  # fmt: skip
    return found


def _draw(points: list[Point], title: str, path: Path) -> bool:
    """A picture for each thing that grows; False where matplotlib (of the toolchain) is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    kinds: Mapping[str, None] = dict.fromkeys(point.what for point in points)
    figure = Figure(figsize=(3.4 * len(kinds), 3.2), layout="constrained")
    for axes, what in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        of = [point for point in points if point.what == what]
        axes.plot([point.value for point in of], [point.per_second for point in of], "o-", color="#3b76af", ms=3)
        axes.set_ylabel("images/s", color="#3b76af", fontsize=8)
        other = axes.twinx()
        a_face = what == "faces"
        cost = [point.cpu_ms / max(point.faces, 1) if a_face else point.cpu_ms for point in of]
        other.plot([point.value for point in of], cost, "o--", color="#c44e52", ms=3)
        other.set_ylabel("CPU ms a face" if a_face else "CPU ms an image", color="#c44e52", fontsize=8)
        axes.set_ylim(bottom=0)
        other.set_ylim(bottom=0)
        axes.set_xlabel(what)
        axes.tick_params(axis="x", labelrotation=45 if what == "size" else 0, labelsize=7)
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg")
    return True
