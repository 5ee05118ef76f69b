"""`ferry monitor`: a live view of a local cluster, from its Prometheus endpoints."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.output import JsonOption, answers, errors, print_json
from serving.telemetry.figures import ClusterFigures, figures
from serving.telemetry.scrape import Scrape, scrape

_ENDPOINTS = 16
"""How many ports are looked at: the services of a cluster and some replicas."""


def monitor(
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The gateway's Prometheus port; those after it are read too.")
    ] = 9090,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print the figures since the start of each process, and end.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch a cluster of this machine: calls, latencies, batches, queues, cache hits and model versions.

    With --json, prints one JSON document for each look (with --once: a single one, in which rates are null). Into a
    file or another program, looks are printed one below the other. Ctrl-C ends it.
    """
    ports = range(metrics_port, min(metrics_port + _ENDPOINTS, 65536))
    before = scrape(ports)
    if not before:
        errors.print(
            f"error: {_silent(ports)}; start a cluster with `ferry serve`, or name its port with --metrics-port",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)
    if once:
        _print(figures(before), as_json)
        return
    try:
        if as_json:
            while True:
                time.sleep(interval)
                now = scrape(ports)
                _print(figures(now, before), as_json)
                before = now
        if not answers.is_terminal:
            while True:
                time.sleep(interval)
                now = scrape(ports)
                answers.print(view(now, before, ports))
                before = now
        with Live(render(figures(before)), console=answers, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                now = scrape(ports)
                live.update(view(now, before, ports), refresh=True)
                before = now
    except KeyboardInterrupt:
        return


def _silent(ports: range) -> str:
    return f"no Ferry service answers on the metrics ports {ports.start} to {ports.stop - 1}"


def _print(seen: ClusterFigures, as_json: bool) -> None:
    if as_json:
        print_json(asdict(seen))
    else:
        answers.print(render(seen))


def view(now: list[Scrape], before: list[Scrape], ports: range) -> RenderableType:
    """The figures between two looks; or, while the cluster is away, that nobody answers."""
    return render(figures(now, before)) if now else Text(f"{_silent(ports)}; looking on, Ctrl-C ends it")


def render(seen: ClusterFigures) -> RenderableType:
    """The figures as tables."""
    live = seen.seconds > 0
    rate = "per s" if live else "total"
    # Which process it was is said where there are several.
    several = len({call.endpoint for call in seen.calls} | {model.endpoint for model in seen.models}) > 1

    def port(endpoint: str) -> tuple[str, ...]:
        return (endpoint.rpartition(":")[2],) if several else ()

    calls = _table("calls", ("service", *port(":port")), (rate, "errors", "p50 ms", "p95 ms"))
    for call in seen.calls:
        calls.add_row(
            f"{call.service}.{call.method}",
            *port(call.endpoint),
            _number(call.requests_per_second if live else call.requests),
            _number(call.errors_per_second if live else call.errors),
            _number(call.p50_ms),
            _number(call.p95_ms),
        )
    figures_of_runs = ("runs/s" if live else "runs", "batch", "busy", "queue ms", "p95", "run ms")
    models = _table("models", ("model", *port(":port"), "backend"), figures_of_runs)
    for model in seen.models:
        models.add_row(
            f"{model.model} {model.version}",
            *port(model.endpoint),
            f"{model.backend} {model.precision}",
            _number(model.runs_per_second if live else model.runs),
            _number(model.mean_batch_size),
            str(model.in_flight),
            _number(model.mean_queue_ms),
            _number(model.p95_queue_ms),
            _number(model.mean_compute_ms),
        )
    share = "no look-ups" if seen.cache_hit_share is None else f"{seen.cache_hit_share:.1%} hits"
    span = f"over {seen.seconds:.1f} s" if live else "since the start"
    return Group(Text(f"cache: {share}; faces: {seen.faces:.0f}; {span}"), calls, models)


def _table(title: str, names: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    """Narrow enough for 80 columns; a name that is too long goes on in the next line."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
