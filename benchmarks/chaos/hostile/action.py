"""Very many hostile inputs as one fault, with what became of the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.outcome import Finding
from benchmarks.chaos.stage import Stage

ROOT = Path(__file__).parent.parent.parent.parent
WARMING = 3000
"""Inputs that come first, so that every pool has its usual size when memory is read."""
MOST_GROWTH = 1.2
SETTLING_SECONDS = 30.0
MOST_SECONDS = 1800.0
BROKEN = ("INTERNAL", "UNKNOWN", "UNAVAILABLE")
"""What nobody is to be told for an input of his own."""


@contextmanager
def hostile(stage: Stage, count: int, seed: int) -> Iterator[None]:
    """Sends `count` inputs to the gateways, and notes what became of them and of the processes."""
    _send(stage.address, min(WARMING, count), seed + 1)
    time.sleep(2)
    pids, before = stage.pids(), _memory(stage)
    said = _send(stage.address, count, seed)
    give_up = time.monotonic() + SETTLING_SECONDS
    while (grown := _grown(before, _memory(stage)))[0] > MOST_GROWTH and time.monotonic() < give_up:
        time.sleep(1)
    codes = {kind: dict(sorted(found.items())) for kind, found in said["codes"].items()}
    sent = sum(number for found in codes.values() for number in found.values())
    broken = sum(number for found in codes.values() for code, number in found.items() if code in BROKEN)
    told = "; ".join(f"{kind}: " + ", ".join(f"{n} {code}" for code, n in codes[kind].items()) for kind in codes)
    stage.notes += [
        Finding("no crash", stage.pids() == pids, f"{sent} inputs; {told}"),
        Finding("no hang", not said["hung"], f"{said['hung']} calls went on after their deadline"),
        Finding("no error of the cluster's own", not broken, f"{broken}"),
        Finding(f"memory back to {MOST_GROWTH:g}x", grown[0] <= MOST_GROWTH, f"{grown[0]:.2f}x at most, of {grown[1]}"),
    ]
    yield


def _send(address: str, count: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.chaos.hostile.send", address, str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_SECONDS, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _memory(stage: Stage) -> dict[str, int]:
    """Resident bytes by process."""
    return {
        member.spec.name: psutil.Process(member.process.pid).memory_info().rss
        for service in ("gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface", "valkey")
        for member in stage.members(service)
    }


def _grown(before: dict[str, int], after: dict[str, int]) -> tuple[float, str]:
    """The largest factor, and whose it is."""
    return max((after[name] / before[name], name) for name in before)
