"""`ferry capacity`: how many pods, CPUs and how much Redis a load needs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.output import JsonOption, answers, errors, print_json
from deploy.capacity.costs import MEASURED, CostsError, read_costs
from deploy.capacity.figure import draw
from deploy.capacity.manifests import BASE, ManifestsError, read_manifests
from deploy.capacity.plan import Load, Plan, plan

_STEPS = 25


def capacity(
    *,
    images_per_second: Annotated[float, typer.Option(min=0, max=1e6, help="At the busiest time.")],
    hit_rate: Annotated[float, typer.Option(min=0, max=1, help="Share answered from the cache.")] = 0.3,
    faces: Annotated[float, typer.Option(min=0, max=256, help="Mean faces of an image.")] = 1.2,
    image_bytes: Annotated[float | None, typer.Option(min=1, help="Mean size of an image; as measured.")] = None,
    ttl_seconds: Annotated[float, typer.Option(min=1, help="How long an answer is kept.")] = 3600.0,
    spare: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Pods of each service beyond what is needed.")
    ] = 1,
    manifests: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            show_default="deploy/k8s/base",
            help="Folder with the manifests, or with what `kubectl kustomize` printed.",
        ),
    ] = BASE,
    costs: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            show_default="as measured, deploy/capacity",
            help="Measured costs; `ferry bench autoscaling --measure`.",
        ),
    ] = MEASURED,
    plot: Annotated[Path | None, typer.Option(help="PNG of the needs from 0 up to this load.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How many pods, CPUs and how much Redis a load needs, by measured costs and the targets of the autoscalers."""
    load = Load(images_per_second, hit_rate, faces, image_bytes, ttl_seconds, spare)
    try:
        known, deployed = read_costs(costs), read_manifests(manifests)
        result = plan(load, known, deployed)
    except (CostsError, ManifestsError) as error:
        where = "--costs" if isinstance(error, CostsError) else "--manifests"
        raise typer.BadParameter(str(error), param_hint=where) from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if plot is not None:
        steps = (replace(load, images_per_second=images_per_second * n / _STEPS) for n in range(_STEPS + 1))
        if not draw([plan(step, known, deployed) for step in steps], plot):
            raise ModuleNotFoundError("a plot needs matplotlib", name="matplotlib")
        errors.print(f"plot: {plot}")
    if as_json:
        print_json(result.record() | {"machine": known.machine, "note": known.note, "load": asdict(load)})
        return
    answers.print(f"Costs of {known.machine}: {known.note}", highlight=False)
    answers.print(_table(result))
    for line in _rest(result):
        answers.print(line, highlight=False)


def _table(result: Plan) -> Table:
    load = result.load
    table = Table(
        title=f"{load.images_per_second:g} images/s, {load.hit_rate:.0%} cached, {load.faces:g} faces an image",
        title_justify="left",
    )
    numbers = ("CPU ms an image", "busy CPUs", "of a pod", "pods", "CPU requests", "limits", "memory")
    table.add_column("service")
    for column in numbers:
        table.add_column(column, justify="right")
    for name, service in result.services.items():
        table.add_row(
            name,
            f"{service.seconds_per_image * 1000:.2f}",
            f"{service.busy_cpus:.1f}",
            f"{service.utilization:.0%}",
            str(service.pods),
            f"{service.cpu_requests:g}",
            f"{service.cpu_limits:g}",
            f"{service.memory_requests / 2**30:.1f} GiB",
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{sum(service.busy_cpus for service in result.services.values()):.1f}",
        "",
        str(result.pods),
        f"{result.cpu_requests:g}",
        f"{result.cpu_limits:g}",
        f"{result.memory_requests / 2**30:.1f} GiB",
    )
    return table


def _rest(result: Plan) -> list[str]:
    redis = result.redis
    short = [f"{name} ({service.max_replicas})" for name, service in result.services.items() if service.exceeds]
    return [
        *([f"Raise maxReplicas of {', '.join(short)}: deploy/k8s/base/autoscaling.yaml"] if short else []),
        f"Redis: {redis.entries / 1e6:.2f} million answers of {result.load.ttl_seconds:g} s, "
        f"{redis.memory / 2**30:.1f} GiB; {redis.gets_per_second:,.0f} reads and "
        f"{redis.sets_per_second:,.0f} writes a second, {_megabits(redis.bytes_per_second)}",
        f"Network: {_megabits(result.edge_bytes_per_second)} between callers and gateways, "
        f"{_megabits(result.inner_bytes_per_second)} between pods",
    ]


def _megabits(bytes_per_second: float) -> str:
    return f"{bytes_per_second * 8 / 1e6:,.0f} Mbit/s"
