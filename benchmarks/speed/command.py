"""`ferry bench speed [end-to-end | cached | startup | tracing | all]`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import tracing
from benchmarks.speed import cached, end_to_end, plots, startup
from serving.cpu import available_cpus, cpu_name


class Which(StrEnum):
    END_TO_END = "end-to-end"
    CACHED = "cached"
    STARTUP = "startup"
    TRACING = "tracing"
    ALL = "all"


def _which(text: str) -> Which:
    try:
        return Which(text)
    except ValueError:
        raise typer.BadParameter(f"must be one of {', '.join(Which)}, not {text!r}") from None


def speed(
    which: Annotated[
        str, typer.Argument(callback=_which, metavar="WHAT", help=f"What to measure: {', '.join(Which)}.")
    ] = "all",
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Length of each loop.")] = 10.0,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for the plots.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Measure Ferry's speed and memory on this machine, as ratios taken in one run. Stop other work first."""
    record: dict[str, Any] = {"machine": cpu_name(), "cpus": available_cpus()}
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 120)
    console.print(f"{record['machine']}, {record['cpus']} CPUs; loops of {seconds:g} s")
    if which in {Which.STARTUP, Which.ALL}:
        services = startup.measure(models_dir)
        record["startup"] = [asdict(service) for service in services]
        console.print(_startup_table(services))
    if which in {Which.CACHED, Which.ALL}:
        answers = cached.measure(models_dir, seconds)
        record["cached"] = answers.record()
        console.print(_cached_table(answers))
    if which in {Which.END_TO_END, Which.ALL}:
        throughput = end_to_end.measure(models_dir, seconds)
        record["end_to_end"] = throughput.record()
        console.print(_end_to_end_table(throughput))
    if which in {Which.TRACING, Which.ALL}:
        costs = tracing.measure(models_dir, seconds / tracing.TURNS)
        record["tracing"] = [cost.record() for cost in costs]
        console.print(_tracing_table(costs))
    for picture in plots.draw(record, out):
        console.print(f"plot: {picture}")
    if as_json:
        print(json.dumps(record, indent=2))


def _verdict(holds: bool) -> str:
    return "[green]holds[/]" if holds else "[red]missed[/]"


def _startup_table(services: list[startup.Startup]) -> Table:
    table = Table(title="Cold start to SERVING, and memory after 50 requests", title_justify="left")
    for column in ("service", "first start s", "start s", "aim s", "", "memory MB", "aim MB", ""):
        table.add_column(column, justify="left" if column in {"service", ""} else "right")
    for s in services:
        table.add_row(
            s.service,
            f"{s.first_start_seconds:.2f}",
            f"{s.start_seconds:.2f}",
            f"< {startup.START_SECONDS:g}",
            _verdict(s.start_seconds < startup.START_SECONDS),
            f"{s.memory_mb:.0f}",
            f"< {s.memory_limit_mb:.0f}",
            _verdict(s.memory_mb < s.memory_limit_mb),
        )
    return table


def _cached_table(answers: cached.Cached) -> Table:
    table = Table(title="A cached answer against a bare echo, 60 kB requests", title_justify="left")
    for column in ("callers", "echo /s", "gateway /s", "echo p50 ms", "gateway p50 ms", "ratio", "aim", ""):
        table.add_column(column, justify="right")
    one, many = (answers.echo_one, answers.gateway_one), (answers.echo_many, answers.gateway_many)
    rows = (
        (one, f"p50 x {answers.latency_factor:.2f}", f"<= {cached.LATENCY_FACTOR:g}",
         answers.latency_factor <= cached.LATENCY_FACTOR),
        (many, f"throughput x {answers.throughput_share:.2f}", f">= {cached.THROUGHPUT_SHARE:g}",
         answers.throughput_share >= cached.THROUGHPUT_SHARE),
    )  # fmt: skip
    for (echo, gateway), ratio, aim, holds in rows:
        table.add_row(
            str(echo.callers),
            f"{echo.per_second:.0f}",
            f"{gateway.per_second:.0f}",
            f"{echo.p50_ms:.2f}",
            f"{gateway.p50_ms:.2f}",
            ratio,
            aim,
            _verdict(holds),
        )
    return table


def _end_to_end_table(result: end_to_end.EndToEnd) -> Table:
    table = Table(title="Images per second, one face, 640 x 480, no cache", title_justify="left")
    for column in ("what", "images/s", "p50 ms", "p95 ms", "errors", "ratio", "aim", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row(f"no server, {result.bare_way}, float32", f"{result.bare:.1f}", "", "", "", "", "", "")
    for name, load, ratio, aim in (
        ("cluster, 32 callers", result.cluster, result.ratio_bare, end_to_end.AGAINST_BARE),
        ("cluster --optimized, 32 callers", result.cluster_optimized, result.ratio_naive, end_to_end.AGAINST_NAIVE),
    ):
        against = "no server" if aim < 1 else "PyTorch"
        table.add_row(
            name,
            f"{load.per_second:.1f}",
            f"{load.p50_ms:.0f}",
            f"{load.p95_ms:.0f}",
            str(load.errors),
            "toolchain missing" if ratio is None else f"{ratio:.2f} x {against}",
            f">= {aim:g}",
            "" if ratio is None else _verdict(ratio >= aim),
        )
    if result.naive is not None:
        table.add_row("PyTorch eager float32, one at a time", f"{result.naive:.1f}", "", "", "", "", "", "")
    return table


def _tracing_table(costs: list[tracing.Cost]) -> Table:
    title = f"Tracing {tracing.SAMPLE_RATIO:.0%} of the calls against none, {tracing.CALLERS} callers"
    table = Table(title=title, title_justify="left")
    for column in ("answers", "off /s", "traced /s", "traced / off", "errors"):
        table.add_column(column, justify="left" if column == "answers" else "right")
    for cost in costs:
        row = (f"{median(cost.off):.1f}", f"{median(cost.traced):.1f}", f"{cost.ratio:.3f}", str(cost.errors))
        table.add_row(cost.what, *row)
    return table
