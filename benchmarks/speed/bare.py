"""The limit: the same models and kernels in processes without a server, in whichever way computes most."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.peers import plans
from benchmarks.peers.catalogue import bare_ways
from benchmarks.peers.running import Bare
from serving.cpu import available_cpus


def best(models_dir: Path, photo: bytes, precision: str, seconds: float) -> tuple[str, float]:
    """Tries one process with every CPU, a process for each CPU, and that in batches of eight.

    Returns:
        The best way's name, such as `2x1 b8`, and its images a second.
    """
    plan = plans.make(models_dir, precision)
    rates = {}
    for way in bare_ways(available_cpus()):
        of_way = replace(plan, threads=way.threads)
        with Bare(Path(sys.executable), of_way.environment(), way.workers, way.batch, photo) as processes:
            rates[way.name] = processes.closed(way.workers, seconds).per_second
    return max(rates.items(), key=lambda rate: rate[1])
