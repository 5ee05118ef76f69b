"""What a run came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.autoscaling.deployment import Change
from benchmarks.autoscaling.scenario import Scenario

OBJECTIVE_SECONDS = 0.5
"""The latency objective of deploy/k8s/components/monitoring/prometheus-rule.yaml."""

Floats = npt.NDArray[np.float64]


class End(IntEnum):
    """How a request ended."""

    ANSWERED = 0
    SHED = 1
    """Refused with RESOURCE_EXHAUSTED and RetryInfo."""
    LATE = 2
    """Its time was up in a queue."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One scenario's.

    Attributes:
        scenario: that was run.
        arrived: seconds, of every request that ended; ascending in order of their ends.
        seconds: from arrival to end.
        ends: an End each.
        degraded: answers of classifiers that were missed.
        arrivals: requests that arrived, those under way at the end included.
        changes: of the replicas, by service.
        in_flight: by service, for each second, over all its pods.
    """

    scenario: Scenario
    arrived: Floats
    seconds: Floats
    ends: npt.NDArray[np.int64]
    degraded: int
    arrivals: int
    changes: Mapping[str, tuple[Change, ...]]
    in_flight: Mapping[str, Floats]

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which requests count as answers: those after the cluster had settled."""
        counted: npt.NDArray[np.bool_] = (self.ends == End.ANSWERED) & (self.arrived >= self.scenario.counted_from)
        return counted

    def quantile(self, share: float) -> float:
        """Seconds, over all answers; NaN without one."""
        latencies = self.seconds[self.answered]
        return float(np.quantile(latencies, share)) if len(latencies) else float("nan")

    def quantiles(self, share: float, step: int = 15) -> tuple[Floats, Floats]:
        """Beginnings of windows of `step` seconds, and the quantile of the answers to what arrived in each, seconds."""
        begins = np.arange(self.scenario.counted_from, self.scenario.seconds, step, dtype=np.float64)
        arrived, seconds = self.arrived[self.answered], self.seconds[self.answered]
        order = np.argsort(arrived, kind="stable")
        edges = np.searchsorted(arrived[order], [*begins, float(self.scenario.seconds)])
        parts = [seconds[order[low:high]] for low, high in pairwise(edges)]
        return begins, np.array([np.quantile(part, share) if len(part) else np.nan for part in parts])

    @property
    def worst_p95(self) -> float:
        """Seconds: of the worst 15 s."""
        return float(np.nanmax(self.quantiles(0.95)[1]))

    @property
    def slow_share(self) -> float:
        """Of the answers that took longer than the objective."""
        return float((self.seconds[self.answered] > OBJECTIVE_SECONDS).mean()) if self.answered.any() else 1.0

    @property
    def slow_seconds(self) -> int:
        """How long p95, over 15 s, was outside the objective."""
        return int((self.quantiles(0.95)[1] > OBJECTIVE_SECONDS).sum()) * 15

    def count(self, end: End) -> int:
        """Requests after the cluster had settled that ended so."""
        return int(((self.ends == end) & (self.arrived >= self.scenario.counted_from)).sum())

    @property
    def shed_between(self) -> tuple[float, float] | None:
        """First and last second in which load was shed; None: never."""
        when = self.arrived[(self.ends == End.SHED) & (self.arrived >= self.scenario.counted_from)]
        return (float(when.min()), float(when.max())) if len(when) else None

    def replicas(self, service: str) -> list[int]:
        """Every number of replicas it had since the cluster had settled, in order."""
        changes = self.changes[service]
        settled = [c.replicas for c in changes if c.when <= self.scenario.counted_from][-1:]
        return settled + [c.replicas for c in changes if c.when > self.scenario.counted_from]

    def pod_hours(self, service: str) -> float:
        """Over the whole scenario."""
        changes = [*self.changes[service], Change(float(self.scenario.seconds), 0)]
        return sum(a.replicas * (b.when - a.when) for a, b in pairwise(changes)) / 3600

    def turns(self, service: str) -> int:
        """How often it turned from more pods to fewer or back."""
        counted = self.replicas(service)
        moves = [b > a for a, b in pairwise(counted)]
        return sum(a != b for a, b in pairwise(moves))

    @property
    def flaps(self) -> bool:
        """Whether a service turned round more often than the load did, the correction of one overshoot aside."""
        return any(self.turns(service) > self.scenario.turns + 1 for service in self.changes)

    @property
    def holds(self) -> bool:
        """p95 of all answers inside the objective, and no flapping."""
        return self.quantile(0.95) <= OBJECTIVE_SECONDS and not self.flaps

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "scenario": self.scenario.name,
            "arrivals": self.arrivals,
            "p50_seconds": self.quantile(0.5),
            "p95_seconds": self.quantile(0.95),
            "p99_seconds": self.quantile(0.99),
            "worst_p95_seconds": self.worst_p95,
            "slow_share": self.slow_share,
            "slow_seconds": self.slow_seconds,
            "shed": self.count(End.SHED),
            "shed_between_seconds": self.shed_between,
            "late": self.count(End.LATE),
            "degraded": self.degraded,
            "flaps": self.flaps,
            "holds": self.holds,
            "services": {
                service: {
                    "min_replicas": min(self.replicas(service)),
                    "max_replicas": max(self.replicas(service)),
                    "pod_hours": self.pod_hours(service),
                    "turns": self.turns(service),
                }
                for service in self.changes
            },
        }


@dataclass(slots=True)
class Record:
    """Collects while a run goes on."""

    degraded: int = 0
    _arrived: list[float] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _in_flight: dict[str, list[int]] = field(default_factory=dict)

    def end(self, arrived: float, now: float, end: End) -> None:
        self._arrived.append(arrived)
        self._seconds.append(now - arrived)
        self._ends.append(end)

    def observe(self, service: str, in_flight: int) -> None:
        self._in_flight.setdefault(service, []).append(in_flight)

    def outcome(self, scenario: Scenario, changes: Mapping[str, tuple[Change, ...]], arrivals: int) -> Outcome:
        return Outcome(
            scenario,
            np.array(self._arrived),
            np.array(self._seconds),
            np.array(self._ends, np.int64),
            self.degraded,
            arrivals,
            changes,
            {service: np.array(counts, np.float64) for service, counts in self._in_flight.items()},
        )
