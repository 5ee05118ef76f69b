"""`ferry bench peers`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmarks.peers import picture, plans, table
from benchmarks.peers.aims import ratios
from benchmarks.peers.bench import Bench
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.environments import NotInstalledError, python_of
from benchmarks.peers.parts import BY_PRECISION, PARTS, names
from benchmarks.peers.record import Record
from benchmarks.photo import one_face
from serving.cpu import available_cpus, cpu_name


def peers(
    part: Annotated[list[str] | None, typer.Argument(help=f"What to measure: {', '.join(PARTS)}; all.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=120, help="Length of each round.")] = 4.0,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=20, help="Rounds of each server's best way.")] = 2,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only servers and ways with this in their name, such as `mosec 2x1`; bare processes always."),
    ] = None,
    precision: Annotated[Literal["fp32", "bf16", "both"], typer.Option(help="Of images and classifier.")] = "both",
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    work: Annotated[Path, typer.Option(help="Folder of the peers' environments.")] = Path(".work/peers"),
    out: Annotated[Path, typer.Option(help="Folder for peers.json and peers.svg.")] = Path("out"),
    install: Annotated[bool, typer.Option("--install", help="Make the environments, and measure nothing.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print what is in peers.json, and measure nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Measure Ferry beside mosec, LitServe, BentoML, Ray Serve, PyTriton, grpc.aio, FastAPI and no server at all.

    All run the same models with the same code around them, and have to give the same answers. Environments are made
    where they are missing; who cannot be installed is named. A part that is measured again takes the place of what
    peers.json held of it. Stop other work first.
    """
    console = Console(stderr=as_json, soft_wrap=True)
    if unknown := set(part or ()) - set(PARTS):
        raise typer.BadParameter(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    known = names(available_cpus())
    if unmatched := [one for one in only or () if not any(_wanted(name, [one]) for name in known)]:
        raise typer.BadParameter(
            f"no server or way has {unmatched[0]!r} in its name; there are {'; '.join(known)}", param_hint="--only"
        )
    work = work.resolve()
    if install:
        _install(work, console)
        return
    file = out / "peers.json"
    record = _record(file, show=show)
    if show and record.empty:
        console.print(f"nothing measured yet in {file}: run `ferry bench peers`", markup=False)
        raise typer.Exit(1)
    if not show:
        bench = Bench(
            record, models_dir, work, one_face(), lambda text: console.print(text, style="dim", markup=False),
            lambda: record.write(file),
        )  # fmt: skip
        for name in part or PARTS:
            for kind in plans.precisions() if name in BY_PRECISION else ("fp32",):
                if precision in {kind, "both"}:
                    PARTS[name](bench, kind, seconds, rounds, lambda name: _wanted(name, only))
                    record.write(file)
    table.print_record(record, console)
    if picture.draw(record, out / "peers.svg"):
        console.print(f"{file}, {out / 'peers.svg'}")
    if as_json:
        print(json.dumps(asdict(record) | {"ratios": [asdict(r) | {"verdict": r.verdict} for r in ratios(record)]}))


def _wanted(name: str, only: list[str] | None) -> bool:
    return not only or any(one.lower() in name.lower() for one in only)


def _install(work: Path, console: Console) -> None:
    for peer in PEERS:
        try:
            python_of(peer, work)
            console.print(f"{peer.name}: installed")
        except NotInstalledError as error:
            console.print(f"{peer.name}: not installed: {error}", markup=False)


def _record(file: Path, *, show: bool) -> Record:
    """What an earlier run left, where it was of this machine, or is only shown; to be measured more of, from today."""
    new = Record(cpu_name(), available_cpus(), date.today().isoformat())
    try:
        old = Record.read(file)
    except (OSError, ValueError, TypeError):
        return new
    if show:
        return old
    if (old.machine, old.cpus) != (new.machine, new.cpus):
        return new
    old.when = new.when
    return old
