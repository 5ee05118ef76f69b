"""Lets faults happen, one after the other, under load."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.chaos.counters import add, alerts, rises, scrape, silent
from benchmarks.chaos.faults import Fault
from benchmarks.chaos.outcome import Finding, Outcome
from benchmarks.chaos.stage import Stage, stage
from benchmarks.closed_loop import closed_loop
from benchmarks.load.mix import Mix, Requests
from benchmarks.load.run import Load, sending
from benchmarks.load.worker import RECOGNIZE
from benchmarks.unary import Pool, addresses

LATE = 5.0
"""Seconds by which a fault may begin late, while a process does not say what it has counted; its load lasts as long."""
CALLERS = 12
"""At once, while the capacity is measured: enough to keep everybody busy, and none waits for long."""
WARM, MEASURED = 4.0, 8.0
"""Seconds."""


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
    keep: Callable[[Verdict], None] = lambda verdict: None,
) -> list[Verdict]:
    """Every fault on its kind of cluster; a cluster is started for each kind.

    Args:
        models_dir: the model repository.
        wanted: the faults.
        say: is told what happens.
        replicas: in place of each fault's own number.
        capacity: images a second; None: it is measured.
        keep: is given each verdict as soon as there is one.
    """
    verdicts = []
    kinds = dict.fromkeys((replicas or fault.replicas, fault.own_clock) for fault in wanted)
    for count, own_clock in kinds:
        say(f"starting a cluster with {count} of each service{', with a clock of its own' if own_clock else ''}")
        with stage(models_dir, count, own_clock=own_clock) as cluster:
            bears = capacity or measure_capacity(cluster)
            say(f"it answers {bears:.1f} images/s")
            for fault in wanted:
                if (replicas or fault.replicas, fault.own_clock) == (count, own_clock):
                    verdicts.append(suffer(cluster, fault, bears))
                    keep(verdicts[-1])
                    for finding in verdicts[-1].findings:
                        say(f"{fault.name}: {finding.claim}: {'yes' if finding.holds else 'NO'} ({finding.seen})")
    return verdicts


def measure_capacity(cluster: Stage) -> float:
    """Images a second that so many callers get answered who wait for each other's turn."""
    return asyncio.run(_measure(cluster.address))


async def _measure(address: str) -> float:
    requests, pool = Requests(Mix(), seed=os.getpid()), Pool(addresses(address))

    async def ask(_: int) -> None:
        await pool.call(RECOGNIZE, next(requests).SerializeToString(), 30)

    try:
        await closed_loop(ask, CALLERS, WARM)
        return (await closed_loop(ask, CALLERS, MEASURED)).per_second
    finally:
        pool.close()


def suffer(cluster: Stage, fault: Fault, capacity: float) -> Verdict:
    """One fault: load, the fault, load after it, and until the cluster is well again."""
    cluster.settle()
    cluster.notes.clear()
    counts = [scrape(cluster.endpoints)]
    rate = fault.load * capacity
    load = Load(
        cluster.address,
        fault.mix,
        seconds=fault.before + fault.seconds + fault.after + fault.longest + LATE,
        processes=1,
        timeout=fault.deadline,
        period=fault.period or math.inf,
        events=True,
        client=fault.client,
    )
    with sending(load, rate) as sent:
        time.sleep(max(0.0, sent.start + fault.before - time.time()))
        counts.append(scrape(cluster.endpoints))
        began = time.time() - sent.start
        with _noting_failure(cluster), fault.do(cluster):
            time.sleep(max(0.0, sent.start + began + fault.seconds - time.time()))
        ended = time.time() - sent.start
        sent.stop_in(fault.after)
        step = sent.result()
    counts.append(scrape(cluster.endpoints))
    counters: dict[str, float] = {}
    for earlier, later in pairwise(counts):
        counters = add(counters, rises(earlier, later))
    outcome = Outcome(step.events, began, ended, rate, capacity, counters, fault.deadline, fault.period)
    found = (*fault.judge(outcome), *cluster.notes, _all_well(cluster))
    return Verdict(fault.name, found, outcome, tuple(alerts(counters)))


def _all_well(cluster: Stage) -> Finding:
    """Whether everything takes requests and says what it has counted: one that hangs may still seem to be there."""
    claim = "every process answers in the end"
    try:
        cluster.settle()
    except TimeoutError as error:
        return Finding(claim, False, str(error))
    missing = silent(cluster.endpoints)
    return Finding(claim, not missing, f"not {', '.join(missing)}" if missing else "all do")


@contextmanager
def _noting_failure(cluster: Stage) -> Iterator[None]:
    """A fault that cannot be made is a verdict too, and no reason not to try the others."""
    try:
        yield
    except Exception as error:
        cluster.notes.append(Finding("it could be tried", False, f"{type(error).__name__}: {error}"))
