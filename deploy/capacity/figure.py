"""A plot of what rising load needs: pods by service, CPUs, Redis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.capacity.plan import Plan


def draw(plans: Sequence[Plan], path: Path) -> bool:
    """
    Args:
        plans: for ascending load, of the same services.
        path: of the PNG; its folder is made where missing.

    Returns:
        False where matplotlib (of the toolchain) is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(10, 3.2), dpi=80, layout="constrained")
    pods, cpus, redis = figure.subplots(1, 3)
    load = [plan.load.images_per_second for plan in plans]
    names = list(plans[0].services)
    pods.stackplot(load, [[plan.services[name].pods for plan in plans] for name in names], labels=names)
    pods.legend(loc="upper left", fontsize=7)
    cpus.plot(load, [plan.cpu_limits for plan in plans], label="limits")
    cpus.plot(load, [plan.cpu_requests for plan in plans], label="requests")
    cpus.plot(load, [sum(s.busy_cpus for s in plan.services.values()) for plan in plans], label="busy")
    cpus.legend(fontsize=7)
    redis.plot(load, [plan.redis.memory / 2**30 for plan in plans])
    for axes, title in ((pods, "pods"), (cpus, "CPUs"), (redis, "Redis, GiB")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("images/s")
        axes.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True
