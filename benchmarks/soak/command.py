"""`ferry bench soak`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.environment import environment
from benchmarks.load.mix import Mix
from benchmarks.load.run import ANSWERED, Load, send, sending
from benchmarks.peers.machine import memory_mb
from benchmarks.soak.slope import LEAST, fit
from benchmarks.soak.table import table
from cli.cluster import Cluster, ClusterSettings
from serving.cpu import available_cpus, cpu_name

MIX = Mix(
    sizes=(((640, 480), 0.7), ((1280, 960), 0.2), ((320, 240), 0.1)),
    faces=((1, 0.7), (0, 0.1), (4, 0.2)),
    cached=0.3,
    augmented=0.05,
)
OVERLOAD = 80.0
WARM = 1 / 5
"""Share of the time before readings count: caches fill, allocators settle."""
READINGS = 10
"""That count, at least."""
LEAST_MINUTES = 10
"""What is shorter says nothing of an hour."""
KEPT = 1 / 30
"""Share of the time for which an answer is kept: caches are as full as they will be long before readings count."""


def soak(
    minutes: Annotated[float, typer.Option(min=0.5, max=1440, help="How long.")] = 30.0,
    share: Annotated[float, typer.Option(min=0.05, max=1, help="Of what the cluster answers at most.")] = 0.6,
    every: Annotated[float, typer.Option(min=1, max=600, help="Seconds between readings.")] = 10.0,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for soak.json and soak.svg.")] = Path("out"),
) -> None:
    """Load a cluster of its own with a mix for half an hour, and say whether memory or latency grows.

    The slope of each is given with its standard error. Growth is more than 5 % of the mean an hour, and more than two
    standard errors. "steady": two standard errors more would be no growth either. "not shown": noise may hide growth.
    Less than ten minutes are too short to judge.

    Exits with 1 where one grows, or where a request failed.
    """
    if minutes * 60 * (1 - WARM) < READINGS * every:
        raise typer.BadParameter(
            f"{minutes:g} minutes with a reading every {every:g} s give too few readings: {READINGS} are needed in the "
            f"last {1 - WARM:.0%} of the time; take more minutes, or a smaller --every"
        )
    console = Console(soft_wrap=True)
    settings = ClusterSettings(port=0, models_dir=models_dir, log_level="warning")
    with environment({"FERRY_CACHE_TTL": f"{KEPT * minutes * 60:g}"}), Cluster(settings) as cluster:
        peak = Load(cluster.address, MIX, seconds=8, processes=1, timeout=5)
        send(peak, 5)
        rate = share * send(peak, OVERLOAD).per_second
        load = Load(cluster.address, MIX, seconds=minutes * 60, processes=1, timeout=10, events=True)
        console.print(f"{rate:.1f} requests/s for {minutes:g} minutes")
        readings: dict[str, list[tuple[float, float]]] = {}
        with sending(load, rate) as sent:
            while (now := time.time() - sent.start) < minutes * 60:
                for endpoint in cluster.endpoints:
                    readings.setdefault(endpoint.name, []).append((now, memory_mb([endpoint.pid])))
                time.sleep(min(every, max(0.0, minutes * 60 - now)) + 0.01)
            step = sent.result()
    failed = [code for _, _, code in step.events if code not in ANSWERED]
    slots = np.arange(0, minutes * 60, every)
    took = [[t * 1000 for due, t, code in step.events if start <= due < start + every] for start in slots]
    for share_ in (50, 99):
        readings[f"p{share_} ms"] = [
            (float(start), float(np.percentile(ms, share_))) for start, ms in zip(slots, took, strict=True) if ms
        ]
    counted = {name: [(t, x) for t, x in values if t >= WARM * minutes * 60] for name, values in readings.items()}
    slopes = {name: fit(*zip(*values, strict=True)) for name, values in counted.items() if len(values) >= LEAST}
    long_enough = minutes >= LEAST_MINUTES
    console.print(
        table(slopes, long_enough, f"{rate:.1f}/s for {minutes:g} min; {cpu_name()}, {available_cpus()} CPUs")
    )
    console.print(f"{len(step.events)} requests, {len(failed)} failed, {step.codes}")
    if not long_enough:
        console.print(f"too short to judge growth: that takes {LEAST_MINUTES} minutes, and half an hour to be sure")
    record = {name: asdict(slope) for name, slope in slopes.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps({"slopes": record, "readings": readings, "codes": step.codes}) + "\n")
    if _draw(readings, out / "soak.svg"):
        console.print(f"{out / 'soak.json'}, {out / 'soak.svg'}")
    if failed or (long_enough and any(slope.grows for slope in slopes.values())):
        raise typer.Exit(1)


def _draw(readings: Mapping[str, list[tuple[float, float]]], path: Path) -> bool:
    """An SVG; False where matplotlib (of the toolchain) is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    memory, latency = figure.subplots(1, 2)
    for name, values in readings.items():
        axes = latency if name.endswith(" ms") else memory
        axes.plot([t / 60 for t, _ in values], [value for _, value in values], label=name, linewidth=1)
    for axes, unit in ((memory, "MB (PSS)"), (latency, "ms")):
        axes.set_xlabel("minutes")
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg")
    return True
