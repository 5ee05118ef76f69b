"""What the supervisor does when processes start, die and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.cluster.errors import ClusterError
from cli.cluster.supervisor import State, Supervisor, Timing
from tests.cli.conftest import SpecFactory, eventually, is_alive

ROOT = Path(__file__).parents[3]


def test_starts_and_drains_stage_by_stage(spec: SpecFactory, tmp_path: Path) -> None:
    supervisor = Supervisor([spec("gateway", 0), spec("models", 2), spec("ensembler", 1)], tmp_path)
    supervisor.start()
    pids = [member.process.pid for member in supervisor.members]
    assert all(member.state is State.READY for member in supervisor.members)
    assert supervisor.stop()
    stops = [line for line in (tmp_path / "events").read_text().splitlines() if not line.startswith("start")]
    assert stops == [f"{what} {name}" for name in ("gateway", "ensembler", "models") for what in ("stop", "gone")]
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_dies_is_started_again(spec: SpecFactory, tmp_path: Path, how: signal.Signals) -> None:
    said: list[str] = []
    supervisor = Supervisor([spec("detector"), spec("other")], tmp_path, Timing(backoff=0.01), said.append)
    supervisor.start()
    detector, other = supervisor.members
    first, neighbour = detector.process.pid, other.process.pid
    for round_ in range(1, 4):
        os.kill(detector.process.pid, how)
        assert eventually(lambda n=round_: detector.restarts == n and detector.state is State.READY)
    assert detector.process.pid != first
    assert other.process.pid == neighbour
    assert any("detector" in line and "starting it again" in line for line in said)
    assert supervisor.stop()


def test_the_delay_doubles_up_to_its_bound(spec: SpecFactory, tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor([spec("x")], tmp_path, Timing(backoff=0.01, max_backoff=0.04), said.append)
    supervisor.start()
    (member,) = supervisor.members
    for round_ in range(1, 5):
        os.kill(member.process.pid, signal.SIGKILL)
        assert eventually(lambda n=round_: member.restarts == n and member.state is State.READY)
    supervisor.stop()
    delays = [line.split(" in ")[1] for line in said if "again" in line]
    assert delays == ["0.01 s", "0.02 s", "0.04 s", "0.04 s"]


def test_early_death_shows_the_log_and_leaves_nothing_running(spec: SpecFactory, tmp_path: Path) -> None:
    said: list[str] = []
    specs = [spec("good"), spec("deaf", behaviour="stubborn"), spec("bad", behaviour="broken")]
    supervisor = Supervisor(specs, tmp_path, report=said.append)
    with pytest.raises(ClusterError, match="bad exited with 1 while starting") as caught:
        supervisor.start()
    assert "no such model: teapot" in caught.value.log_tail
    assert not [line for line in said if "killed" in line]  # what matters is the one that failed
    assert not any(is_alive(member.process.pid) for member in supervisor.members)


def test_the_log_of_an_earlier_run_is_not_shown(spec: SpecFactory, tmp_path: Path) -> None:
    (tmp_path / "bad.log").write_text("from yesterday\n")
    with pytest.raises(ClusterError) as caught:
        Supervisor([spec("bad", behaviour="broken")], tmp_path).start()
    assert "yesterday" not in caught.value.log_tail
    assert (tmp_path / "bad.log").read_text().startswith("from yesterday\n")


def test_what_is_never_ready_has_a_bound(spec: SpecFactory, tmp_path: Path) -> None:
    supervisor = Supervisor([spec("slow", behaviour="never ready")], tmp_path, Timing(startup=0.5))
    with pytest.raises(ClusterError, match=r"slow not ready within 0\.5 s"):
        supervisor.start()
    assert not is_alive(supervisor.members[0].process.pid)


def test_a_program_that_is_not_there(spec: SpecFactory, tmp_path: Path) -> None:
    broken = spec("x")
    with pytest.raises(ClusterError, match="x exited"):
        Supervisor([type(broken)("x", ("/no/such/program",), lambda: False)], tmp_path).start()


def test_what_does_not_stop_is_killed(spec: SpecFactory, tmp_path: Path) -> None:
    supervisor = Supervisor([spec("deaf", behaviour="stubborn")], tmp_path, Timing(drain=0.2))
    supervisor.start()
    assert not supervisor.stop()
    assert not is_alive(supervisor.members[0].process.pid)


def test_kill_ends_a_drain(spec: SpecFactory, tmp_path: Path) -> None:
    supervisor = Supervisor([spec("deaf", behaviour="stubborn")], tmp_path, Timing(drain=3600))
    supervisor.start()
    stopping = threading.Thread(target=supervisor.stop)
    stopping.start()
    supervisor.kill()
    stopping.join(20)
    assert not stopping.is_alive()
    assert not is_alive(supervisor.members[0].process.pid)


def test_a_start_can_be_given_up(spec: SpecFactory, tmp_path: Path) -> None:
    supervisor = Supervisor([spec("slow", behaviour="never ready")], tmp_path)
    threading.Timer(0.2, supervisor.request_stop).start()
    with pytest.raises(ClusterError, match="stopped while starting"):
        supervisor.start()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_children_die_with_a_killed_supervisor(spec: SpecFactory, tmp_path: Path) -> None:
    spec("deaf")
    code = f"""
import sys, time
from pathlib import Path
from cli.cluster.process import ProcessSpec
from cli.cluster.supervisor import Supervisor
folder = Path({str(tmp_path)!r})
command = (sys.executable, str(folder / "service.py"), "deaf", str(folder), "stubborn")
Supervisor([ProcessSpec("deaf", command, (folder / "deaf.pid").exists)], folder).start()
print("ready", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        assert eventually(lambda: (tmp_path / "deaf.pid").read_text().isdigit())
        child = int((tmp_path / "deaf.pid").read_text())
        assert is_alive(child)
        parent.kill()
    assert eventually(lambda: not is_alive(child))
