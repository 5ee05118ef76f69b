"""Services of a few lines for the supervisor to run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.cluster.process import ProcessSpec

SERVICE = """
import os, signal, sys, time
name, folder, behaviour = sys.argv[1:]
events = open(os.path.join(folder, "events"), "a", buffering=1)
def stop(*_):
    if behaviour == "stubborn":
        return
    events.write(f"stop {name}\\n")
    time.sleep(0.1)
    events.write(f"gone {name}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if behaviour == "broken":
    print("first line of the log")
    sys.exit("no such model: teapot")
events.write(f"start {name}\\n")
if behaviour != "never ready":
    with open(os.path.join(folder, f"{name}.pid"), "w") as file:
        file.write(str(os.getpid()))
while True:
    time.sleep(60)
"""

SpecFactory = Callable[..., ProcessSpec]


@pytest.fixture
def spec(tmp_path: Path) -> SpecFactory:
    """Makes services that write what happens to them to `tmp_path/events`, and their pid to `<name>.pid`."""
    script = tmp_path / "service.py"
    script.write_text(SERVICE)

    def make(name: str, stage: int = 0, behaviour: str = "good") -> ProcessSpec:
        pid_file = tmp_path / f"{name}.pid"

        def is_ready() -> bool:
            return pid_file.exists() and pid_file.read_text().isdigit() and is_alive(int(pid_file.read_text()))

        command = (sys.executable, str(script), name, str(tmp_path), behaviour)
        return ProcessSpec(name, command, is_ready, stage)

    return make


def is_alive(pid: int) -> bool:
    """True while the process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Waits until `condition` holds; False when it never did."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False
