"""`ferry bench autoscaling`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.autoscaling.cluster import Cluster, Conditions
from benchmarks.autoscaling.figure import draw
from benchmarks.autoscaling.outcome import OBJECTIVE_SECONDS, End, Outcome
from benchmarks.autoscaling.scenario import SCENARIOS
from deploy.capacity.costs import MEASURED, Costs, CostsError, read_costs
from deploy.capacity.manifests import BASE, Deployed, ManifestsError, read_manifests
from deploy.capacity.plan import Load, plan

Name = StrEnum("Name", {name: name for name in SCENARIOS})  # type: ignore[misc]

_DEFAULT = Conditions()


def autoscaling(
    scenario: Annotated[
        list[Name] | None,
        typer.Option(metavar="SCENARIO", show_default="all", help=f"{', '.join(SCENARIOS)}; repeatable."),
    ] = None,
    peak: Annotated[float, typer.Option(min=1, max=1000, help="Images per second at the peak.")] = _DEFAULT.peak,
    hit_rate: Annotated[float, typer.Option(min=0, max=0.99, help="Share answered from the cache.")] = (
        _DEFAULT.hit_rate
    ),
    faces: Annotated[float, typer.Option(min=0, max=16, help="Mean faces of an image.")] = _DEFAULT.faces,
    start_seconds: Annotated[float, typer.Option(min=0, max=600, help="From the wish for a pod to its load.")] = (
        _DEFAULT.start_seconds
    ),
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of all chance.")] = _DEFAULT.seed,
    manifests: Annotated[
        Path, typer.Option(metavar="DIR", show_default="deploy/k8s/base", help="Folder with the manifests.")
    ] = BASE,
    costs: Annotated[
        Path, typer.Option(metavar="FILE", show_default="as measured, deploy/capacity", help="Measured costs.")
    ] = MEASURED,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the costs on this machine, write, end.")] = False,
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    out: Annotated[Path, typer.Option(help="Folder for the plot.")] = Path("out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Replay the autoscalers of the manifests against a queueing model of the services with their measured costs."""
    if measure:
        from benchmarks.autoscaling.measure import measure as measured
        from benchmarks.autoscaling.measure import write

        write(measured(models_dir), costs)
        print(f"written: {costs}")
        return
    try:
        deployed, known = read_manifests(manifests), read_costs(costs)
    except (ManifestsError, CostsError) as error:
        raise typer.BadParameter(str(error)) from error
    conditions = Conditions(peak, hit_rate, faces, start_seconds=start_seconds, seed=seed)
    outcomes = [simulate(name, deployed, known, conditions) for name in scenario or SCENARIOS]
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 140)
    console.print(f"Costs of {known.machine}: {known.note}", highlight=False)
    console.print(
        f"{peak:g} images/s at the peak, {hit_rate:.0%} cached, {faces:g} faces, seed {seed}", highlight=False
    )
    console.print(table(outcomes))
    picture = out / "autoscaling.png"
    if draw(outcomes, picture):
        console.print(f"plot: {picture}")
    if as_json:
        record = {"machine": known.machine, "note": known.note, "conditions": asdict(conditions)}
        print(json.dumps(record | {"scenarios": [outcome.record() for outcome in outcomes]}, indent=2))


def simulate(name: str, manifests: Mapping[str, Deployed], costs: Costs, conditions: Conditions) -> Outcome:
    """One scenario, begun with the pods that its first second needs by the formula of `ferry capacity`."""
    scenario = SCENARIOS[name]
    first = conditions.peak * float(scenario.rate(np.zeros(1))[0])
    load = Load(first, conditions.hit_rate, conditions.faces, spare=0)
    planned = plan(load, costs, manifests).services
    replicas = {service: min(p.pods, p.max_replicas) for service, p in planned.items()}
    return Cluster(manifests, costs, conditions, replicas).run(scenario)


def _pods(outcome: Outcome) -> str:
    """Fewest and most of the services that were scaled, and their changes of direction."""
    scaled = [service for service in outcome.changes if len(set(outcome.replicas(service))) > 1]
    lines = [f"{s} {min(outcome.replicas(s))}-{max(outcome.replicas(s))} ({outcome.turns(s)})" for s in scaled]
    return "\n".join(lines) or "unchanged"


def table(outcomes: Sequence[Outcome]) -> Table:
    """For the terminal."""
    result = Table(title=f"Objective: {OBJECTIVE_SECONDS:g} s", title_justify="left")
    columns = ("scenario", "p50 s", "p95 s", "p99 s", "slow", "p95 outside", "worst p95 s", "shed", "shed for")
    for column in (*columns, "late", "pods (turns)", "pod h", ""):
        result.add_column(column, justify="left" if column in {"scenario", "pods (turns)", ""} else "right")
    for o in outcomes:
        between = o.shed_between
        result.add_row(
            o.scenario.name,
            *(f"{o.quantile(share):.3f}" for share in (0.5, 0.95, 0.99)),
            f"{o.slow_share:.2%}",
            f"{o.slow_seconds} s",
            f"{o.worst_p95:.2f}",
            str(o.count(End.SHED)),
            "" if between is None else f"{between[1] - between[0]:.0f} s",
            str(o.count(End.LATE)),
            _pods(o),
            f"{sum(o.pod_hours(s) for s in o.changes):.1f}",
            "[green]holds[/]" if o.holds else "[red]flaps[/]" if o.flaps else "[red]missed[/]",
        )
    return result
