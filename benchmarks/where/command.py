"""`ferry bench where`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.environment import environment
from benchmarks.peers.bodies import numbered
from benchmarks.peers.machine import cpu_seconds
from benchmarks.photo import one_face
from benchmarks.where.spans import collecting, own_times
from cli.cluster import Cluster, ClusterSettings
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from serving.cpu import available_cpus, cpu_name

TRACED = 40
FLUSH_SECONDS = 7.0
"""Services export their spans every five seconds."""


def where(
    images: Annotated[
        int, typer.Option(metavar="N", min=10, max=10000, help="Images of one caller, one after another.")
    ] = 200,
    optimized: Annotated[bool, typer.Option("--optimized", help="As `ferry serve --optimized`.")] = False,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for where.json and where.svg.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Show where the time and the CPU of one request go, on a cluster that does nothing else.

    Time is that of real traces, each part without what it waits for; CPU is that of the processes, from /proc, without
    tracing.
    """
    console = Console(stderr=as_json, soft_wrap=True)
    settings = ClusterSettings(port=0, models_dir=models_dir, optimized=optimized, cache=False, log_level="warning")
    cpu, whole = _cpu(settings, images)
    times = _times(settings)
    title = f"one face, 640 x 480, one caller; {cpu_name()}, {available_cpus()} CPUs"
    console.print(table("time, ms", times, title))
    console.print(f"a caller waits {whole:.1f} ms; the times do not add up to it: some parts run side by side")
    console.print(table("CPU, ms", cpu, title, total="all processes"))
    record = {"title": title, "ms": times, "cpu_ms": cpu, "caller_ms": whole}
    out.mkdir(parents=True, exist_ok=True)
    (out / "where.json").write_text(json.dumps(record, indent=1) + "\n")
    if _draw({"time": times, "CPU": cpu}, title, out / "where.svg"):
        console.print(f"{out / 'where.json'}, {out / 'where.svg'}")
    if as_json:
        print(json.dumps(record))


def table(what: str, figures: Mapping[str, float], title: str, total: str = "") -> Table:
    """A row for each part, the largest first.

    Args:
        what: is shown, with its unit.
        figures: by part.
        title: under what they were taken.
        total: name of their sum; empty: it means nothing.
    """
    found = Table(title=f"{what}: {title}", title_justify="left")
    found.add_column("part")
    found.add_column(what, justify="right")
    for name, value in sorted(figures.items(), key=lambda pair: -pair[1]):
        found.add_row(name, f"{value:.2f}")
    if total:
        found.add_row(total, f"{sum(figures.values()):.2f}", style="bold")
    return found


def _cpu(settings: ClusterSettings, images: int) -> tuple[dict[str, float], float]:
    """CPU milliseconds of an image by process, and what its caller waits."""
    with Cluster(settings) as cluster:
        pids = {endpoint.name: endpoint.pid for endpoint in cluster.endpoints}
        _recognize(cluster.address, 20)
        before = {name: cpu_seconds([pid]) for name, pid in pids.items()}
        took = _recognize(cluster.address, images)
        after = {name: cpu_seconds([pid]) for name, pid in pids.items()}
    return {name: (after[name] - before[name]) * 1000 / images for name in pids}, took


def _times(settings: ClusterSettings) -> dict[str, float]:
    """Milliseconds of an image by part."""
    with ExitStack() as stack:
        collector, port = stack.enter_context(collecting())
        stack.enter_context(
            environment({"FERRY_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "FERRY_TRACE_SAMPLE_RATIO": "1"})
        )
        cluster = stack.enter_context(Cluster(settings))
        _recognize(cluster.address, 20)
        time.sleep(FLUSH_SECONDS)
        collector.spans.clear()
        _recognize(cluster.address, TRACED)
        time.sleep(FLUSH_SECONDS)
        recognized = {span.trace for span in collector.spans if span.name.endswith("/Recognize")}
        return own_times([span for span in collector.spans if span.trace in recognized])


def _recognize(address: str, images: int) -> float:
    """One after another; milliseconds of one."""
    photo = one_face()
    base = time.time_ns()
    with grpc.insecure_channel(target(address), channel_options("where")) as channel:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
        started = time.perf_counter()
        for i in range(images):
            stub.Recognize(gateway_pb2.RecognizeRequest(image=numbered(photo, base + i)), timeout=60)
        return (time.perf_counter() - started) * 1000 / images


def _draw(bars: Mapping[str, Mapping[str, float]], title: str, path: Path) -> bool:
    """A stacked bar for each; False where matplotlib (of the toolchain) is missing."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    rows = figure.subplots(len(bars), 1, squeeze=False)[:, 0]
    tab20: Any = colormaps["tab20"]
    colours = tab20.colors
    for axes, (what, parts) in zip(rows, bars.items(), strict=True):
        left = 0.0
        for i, (name, value) in enumerate(parts.items()):
            axes.barh([what], [value], left=left, color=colours[i % 20], label=f"{name} {value:.1f}")
            left += value
        axes.set_xlabel(f"{what}, ms an image")
        axes.legend(fontsize=6, ncols=1, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg")
    return True
