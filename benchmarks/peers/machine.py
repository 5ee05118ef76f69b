"""How quiet the machine is: a spinning reference around each round, and what others computed during it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from serving.cpu import available_cpus

SPIN = """
import time
end = time.perf_counter() + {seconds}
turns = 0
while time.perf_counter() < end:
    for _ in range(1000):
        pass
    turns += 1
print(turns)
"""
SLOWER = 0.93
"""A reference below this share of the run's best means that something else computed, or that the clock was lowered."""
OTHERS = 0.05
"""More than this share of the CPUs for other processes, or stolen by other guests, disturbs."""

IDLE = 0.15
"""Of one CPU: what a server takes that answers nobody."""


def spin(seconds: float = 0.3) -> float:
    """Turns of an empty loop on every CPU at once, thousands a second."""
    code = [sys.executable, "-S", "-c", SPIN.format(seconds=seconds)]
    loops = [subprocess.Popen(code, stdout=subprocess.PIPE, text=True) for _ in range(available_cpus())]
    return sum(int(loop.communicate(timeout=60)[0]) for loop in loops) / seconds


def tree(pids: Iterable[int]) -> list[psutil.Process]:
    """Those processes and all below them."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        try:
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of those processes and all below them, ended children included."""
    total = 0.0
    for process in tree(pids):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def until_idle(pids: Iterable[int], seconds: float = 15.0) -> None:
    """Waits until those processes compute no more: a server still answers those who have given up on it."""
    pids, give_up = list(pids), time.monotonic() + seconds
    before = cpu_seconds(pids)
    while time.monotonic() < give_up:
        time.sleep(0.2)
        after = cpu_seconds(pids)
        if after - before < IDLE * 0.2:
            return
        before = after


def memory_mb(pids: Iterable[int]) -> float:
    """Proportional set size of those processes and all below them, 10^6 bytes."""
    total = 0
    for process in tree(pids):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


@dataclass(frozen=True, slots=True)
class Clock:
    """A reading of the machine's and some processes' times, seconds."""

    wall: float
    ours: float
    own: float
    busy: float
    stolen: float

    @classmethod
    def read(cls, pids: Iterable[int]) -> Clock:
        """`ours`: of these processes; `own`: of this one."""
        times, own = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = times.user + times.system
        return cls(time.perf_counter(), cpu_seconds(pids), own.user + own.system, busy, times.steal)

    def others_since(self, before: Clock) -> float:
        """Share of the CPUs that others had, 0 to 1."""
        whole = (self.wall - before.wall) * available_cpus()
        mine = self.ours - before.ours + self.own - before.own
        return max(0.0, self.busy - before.busy - mine + self.stolen - before.stolen) / whole
