"""What breaks processes breaks the right one, and only for as long as it should."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.scenarios import hand_pod
from tests.processes import until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
_PROGRAM = Path(hand_pod.__file__)
_COUNTS = """
import pathlib, sys, threading, time
def count(name):
    for number in iter(int, 1):
        with open(pathlib.Path(sys.argv[1], name), "ab") as file:
            file.write(b".")
        time.sleep(0.01)
threading.Thread(target=count, args=("other",), daemon=True).start()
count("main")
"""
_FREEZE = (
    "import sys, time; from tests.kubernetes.scenarios.hand_pod import freeze; "
    "freeze(int(sys.argv[1])); print('frozen', flush=True); time.sleep(60)"
)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of two threads, each of which makes a file longer."""
    running = subprocess.Popen([sys.executable, "-c", _COUNTS, str(tmp_path)])
    try:
        until(lambda: size(tmp_path, "main") > 0 < size(tmp_path, "other"), what="both threads")
        yield running
    finally:
        running.kill()
        running.wait(30)


def size(folder: Path, name: str) -> int:
    path = folder / name
    return path.stat().st_size if path.exists() else 0


def test_only_the_first_thread_stops_and_goes_on_afterwards(counting: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _FREEZE, str(counting.pid)], stdout=subprocess.PIPE) as freezing:
        assert freezing.stdout is not None
        if freezing.stdout.readline() != b"frozen\n":
            pytest.skip("this machine does not let processes trace others")
        # What it was doing when it was told to stop may still end.
        time.sleep(0.05)
        main, other = size(tmp_path, "main"), size(tmp_path, "other")
        until(lambda: size(tmp_path, "other") > other + 5, what="the other thread goes on")
        assert size(tmp_path, "main") == main
        freezing.kill()
    until(lambda: size(tmp_path, "main") > main + 5, what="the first thread goes on")


def test_processes_are_found_by_the_container_in_their_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = "0123456789abcdef"
    for pid, group in ((70, "/other"), (9, f"/kubepods/pod1/{container}"), (12, f"/kubepods/pod1/{container}")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(f"0::{group}\n")
    monkeypatch.setattr(hand_pod, "PROC", tmp_path)
    assert hand_pod.processes(container) == [9, 12]


def test_a_container_that_is_not_there_is_named() -> None:
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), "kill", "no-such-container"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no process of container no-such-container" in done.stderr
