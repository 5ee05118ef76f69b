"""`ferry bench cancelled`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cancelled.measure import Growth, measure_bare, measure_gateway


def cancelled(
    calls: Annotated[
        int, typer.Option(metavar="N", min=400, max=1_000_000, help="Calls to give up, of each server.")
    ] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give up many calls, and say what each leaves in the memory of grpc.aio alone and of Ferry's gateway.

    What the first shows is gRPC's part, which Ferry cannot remove; what the second shows beyond it would be Ferry's.
    """
    grown = {"grpc.aio alone": measure_bare(calls), "Ferry's gateway": measure_gateway(calls)}
    if as_json:
        typer.echo(json.dumps({name: asdict(growth) for name, growth in grown.items()}))
        return
    Console(width=None if sys.stdout.isatty() else 80).print(_table(grown))


def _table(grown: dict[str, Growth]) -> Table:
    table = Table(title="memory that a cancelled call leaves", title_justify="left")
    for column in ("server", "calls", "bytes a call", "error", "MB at the end"):
        table.add_column(column, justify="left" if column == "server" else "right")
    for name, growth in grown.items():
        table.add_row(name, str(growth.calls), f"{growth.bytes_a_call:.0f}", f"{growth.error:.0f}",
                      f"{growth.resident / 1e6:.0f}")  # fmt: skip
    return table
