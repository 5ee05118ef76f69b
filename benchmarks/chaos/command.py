"""`ferry bench chaos`, which `make chaos` runs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.chaos import picture
from benchmarks.chaos.faults import HOSTILE, SEED, faults, patient
from benchmarks.chaos.run import Verdict, run
from benchmarks.chaos.table import markdown, table
from benchmarks.only import chosen
from serving.cpu import available_cpus, cpu_name


def chaos(
    only: Annotated[list[str] | None, typer.Option(help="Only faults with this in their name.")] = None,
    replicas: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=8, help="In place of 3, and of 1 where all die.")
    ] = None,
    capacity: Annotated[
        float | None, typer.Option(min=0.1, max=100_000, help="Images a second, in place of measuring.")
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(min=1, max=60, help="Seconds callers wait at least, on a busy machine."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of hostile inputs.")] = SEED,
    inputs: Annotated[int, typer.Option(metavar="N", min=1, help="Hostile inputs.")] = HOSTILE,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for chaos.json, chaos.md and chaos.svg.")] = Path("out"),
    list_them: Annotated[bool, typer.Option("--list", help="Name the faults, and do nothing.")] = False,
) -> None:
    """Kill, hang, slow and cut off parts of a real cluster under load, and say what callers saw.

    Starts clusters of its own on free ports, with three replicas of each service, sends 60 % of what they answer at
    most, and ends by itself after some minutes. What an earlier run said of other faults is kept. Exits with 1 where
    something was not as it should be.
    """
    known = faults(inputs, seed)
    if deadline is not None:
        known = [patient(fault, deadline) for fault in known]
    names = chosen((fault.name for fault in known), only, "fault")
    wanted = [fault for fault in known if fault.name in names]
    if list_them:
        print("\n".join(fault.name for fault in wanted))
        return
    console = Console(width=None if sys.stdout.isatty() else 110)
    out.mkdir(parents=True, exist_ok=True)
    kept = {verdict.fault: verdict for verdict in _earlier(out / "chaos.json")}

    def keep(verdict: Verdict) -> None:
        kept[verdict.fault] = verdict
        _write([kept[fault.name] for fault in faults() if fault.name in kept], out / "chaos.json")

    say = partial(console.print, style="dim", markup=False)
    new = run(models_dir, wanted, say, replicas, capacity, keep)
    verdicts = [kept[fault.name] for fault in faults() if fault.name in kept]
    console.print(table(verdicts))
    (out / "chaos.md").write_text(markdown(verdicts))
    if picture.draw(verdicts, out / "chaos.svg"):
        console.print(f"{out / 'chaos.json'}, {out / 'chaos.svg'}")
    if not all(verdict.holds for verdict in new):
        raise typer.Exit(1)


def _write(verdicts: list[Verdict], file: Path) -> None:
    record = {
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "when": date.today().isoformat(),
        "verdicts": [asdict(verdict) | {"holds": verdict.holds} for verdict in verdicts],
    }
    file.write_text(json.dumps(record) + "\n")


def _earlier(file: Path) -> list[Verdict]:
    """Of faults that are not tried again in this run."""
    try:
        record = json.loads(file.read_text())
        return [Verdict.from_json({k: v for k, v in fields.items() if k != "holds"}) for fields in record["verdicts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
