"""A new canary whose cache is empty beside a stable whose cache is full: no difference in what they compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.experiments.simulate import ALPHA, Curve, Recorded, so_far
from benchmarks.experiments.whole import DEGRADED, FAILING
from cli.ab.levels import levels
from cli.ab.metric import Metric, find
from cli.ab.records import Records
from cli.ab.report import MARGIN
from cli.ab.sides import Sides
from gateway.experiments.record import Exposure

SHARE = 0.1
"""Of the callers that the canary has."""
HITS = {"stable": 0.8, "canary": 0.1}
LEVELS = levels(tuple(Metric), ALPHA, 1)
GUARDS = (Metric.ERRORS, Metric.DEGRADED)
ALLOWED = sum(LEVELS[metric] for metric in GUARDS)


@dataclass(frozen=True, eq=False)
class CacheOutcome(Recorded):
    """How often a guardrail called the canary worse, at any look.

    Attributes:
        false_alarms: share of experiments, comparing what was computed.
        counting_hits: the same where answers from the cache count as if they had been computed.
        alarms, counting_hits_alarms: float64 [images], shares so far.
    """

    false_alarms: float
    counting_hits: float
    alarms: Curve
    counting_hits_alarms: Curve


def simulate_cache(experiments: int, images: int, seed: int) -> CacheOutcome:
    """Each image from another caller; looks as `ferry ab report` draws them.

    Args:
        experiments: 1 or more.
        images: of each, 1 or more.
        seed: equal seeds give equal outcomes.
    """
    random = np.random.default_rng(seed)
    wrong: tuple[list[int], list[int]] = ([], [])
    for _ in range(experiments):
        made = {str(place): one for place, one in enumerate(_exposures(random, images))}
        counted = {name: replace(one, cached=False) for name, one in made.items()}
        for found, exposures in zip(wrong, (made, counted), strict=True):
            after = _first(exposures)
            if after is not None:
                found.append(after)
    shares = [so_far(after, images, experiments) for after in wrong]
    return CacheOutcome(float(shares[0][-1]), float(shares[1][-1]), shares[0], shares[1])


def _exposures(random: np.random.Generator, images: int) -> Iterator[Exposure]:
    """The n-th image comes in second n; what the canary fails with is stable's, maybe from its cache."""
    draws = random.random((images, 5))
    for place, (falls, is_hit, fails, degrades, is_stables_hit) in enumerate(draws.tolist()):
        name = "canary" if falls < SHARE else "stable"
        hit = is_hit < HITS[name]
        failed = not hit and fails < FAILING
        by = name if not failed else "stable" if name == "canary" else ""
        yield Exposure(
            time=float(place + 1),
            assigned=name,
            variant=by,
            fingerprint=by,
            table="",
            caller=str(place),
            cached=hit or (failed and by != "" and is_stables_hit < HITS[by]),
            degraded=not hit and not failed and degrades < DEGRADED,
            milliseconds=0.0,
            error="INTERNAL" if failed else "",
            faces=(),
        )


def _first(exposures: dict[str, Exposure]) -> int | None:
    """After how many images a guardrail called the canary worse; None: never."""
    sides = Sides(Records(exposures, {}, []), "canary", "stable")
    paths = [find(metric, sides, LEVELS[metric], MARGIN).path for metric in GUARDS]
    return min((int(time) for path in paths for time, low, _ in path if low > 0), default=None)
