"""Lets faults happen, one after the other, under load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos.counters import alerts, rises, scrape
from benchmarks.chaos.faults import Fault
from benchmarks.chaos.outcome import Finding, Outcome
from benchmarks.chaos.stage import Stage, stage
from benchmarks.load.mix import Mix
from benchmarks.load.run import Load, send, sending

BEFORE = 4.0
"""Seconds of load before a fault."""
OVERLOAD = 60.0
"""Requests a second that no two cores answer: what is answered of them is the capacity."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a fault.

    Attributes:
        alerts: that look at what moved.
    """

    fault: str
    findings: tuple[Finding, ...]
    outcome: Outcome
    alerts: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Verdict:
        """What `asdict` and JSON made of one."""
        outcome = fields["outcome"]
        events = tuple((due, took, code) for due, took, code in outcome["events"])
        return cls(
            fields["fault"],
            tuple(Finding(**finding) for finding in fields["findings"]),
            Outcome(**outcome | {"events": events}),
            tuple(fields["alerts"]),
        )


def run(
    models_dir: Path,
    wanted: Sequence[Fault],
    say: Callable[[str], None],
    replicas: int | None = None,
    capacity: float | None = None,
) -> list[Verdict]:
    """Every fault on its kind of cluster; a cluster is started for each number of replicas.

    Args:
        models_dir: the model repository.
        wanted: the faults.
        say: is told what happens.
        replicas: in place of each fault's own number.
        capacity: images a second; None: it is measured.
    """
    verdicts = []
    for count in sorted({replicas or fault.replicas for fault in wanted}, reverse=True):
        say(f"starting a cluster with {count} of each service")
        with stage(models_dir, count) as cluster:
            bears = capacity or measure_capacity(cluster)
            say(f"it answers {bears:.1f} images/s")
            for fault in wanted:
                if (replicas or fault.replicas) == count:
                    verdicts.append(suffer(cluster, fault, bears))
                    for finding in verdicts[-1].findings:
                        say(f"{fault.name}: {finding.claim}: {'yes' if finding.holds else 'NO'} ({finding.seen})")
    return verdicts


def measure_capacity(cluster: Stage) -> float:
    """Images a second under more load than it bears."""
    load = Load(cluster.address, Mix(), seconds=6, processes=1, timeout=3)
    send(load, 5)
    return send(load, OVERLOAD).per_second


def suffer(cluster: Stage, fault: Fault, capacity: float) -> Verdict:
    """One fault: load, the fault, load after it, and until the cluster is well again."""
    cluster.settle()
    before = scrape(cluster.endpoints)
    rate = fault.load * capacity
    # How long a rolling restart takes is not known ahead; what is sent after the fault ends early then.
    longest = BEFORE + fault.seconds + fault.after + (75 if "rolling" in fault.name else 0)
    load = Load(cluster.address, fault.mix, seconds=longest, processes=1, timeout=fault.deadline, events=True)
    with sending(load, rate) as sent:
        time.sleep(max(0.0, sent.start + BEFORE - time.time()))
        began = time.time() - sent.start
        with fault.do(cluster):
            time.sleep(max(0.0, sent.start + began + fault.seconds - time.time()))
        ended = time.time() - sent.start
        step = sent.result()
    after = scrape(cluster.endpoints)
    counters = rises(before, after)
    outcome = Outcome(step.events, began, ended, rate, capacity, counters)
    return Verdict(fault.name, tuple(fault.judge(outcome)), outcome, tuple(alerts(counters)))
