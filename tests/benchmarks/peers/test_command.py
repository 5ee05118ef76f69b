"""What is shown is what was measured, with its date; who there is not is not measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmarks.command import app
from benchmarks.peers.parts import names
from benchmarks.peers.record import Reading, Record
from benchmarks.peers.running import ROOT, Bare
from benchmarks.peers.servers import bare

READING = Reading("images", "Ferry", "serve", "fp32", 32, 20.0, 50.0, 90.0, 100.0, 500.0, 0, 1.0, 0.0, disturbed=False)


def peers(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["peers", *arguments])


@pytest.mark.parametrize("only", ["mosec", "Ferry, all", "ferry serve", "fastapi + redis", "grpc.aio + pool"])
def test_everybody_is_found_by_a_part_of_the_name(only: str) -> None:
    assert any(only.lower() in name.lower() for name in names(2))


def test_who_there_is_not_is_refused(tmp_path: Path) -> None:
    refused = peers("images", "--only", "mosec", "--only", "nosuch", "--out", str(tmp_path))
    assert refused.exit_code == 2
    assert "nosuch" in refused.output
    assert "Ferry, all serve" in " ".join(refused.output.replace("│", "").split())
    assert not list(tmp_path.iterdir())


def test_where_nothing_was_measured_that_is_said(tmp_path: Path) -> None:
    shown = peers("--show", "--out", str(tmp_path))
    assert shown.exit_code == 1
    assert shown.output == f"nothing measured yet in {tmp_path / 'peers.json'}: run `ferry bench peers`\n"


def test_the_date_is_that_of_the_readings(tmp_path: Path) -> None:
    Record("another machine", 96, "2020-02-20", [READING]).write(tmp_path / "peers.json")
    shown = peers("--show", "--out", str(tmp_path))
    assert shown.exit_code == 0
    assert "another machine, 96 CPUs, 2020-02-20\n" in shown.output
    assert "noise: 0 of 1 rounds" in shown.output


def test_of_a_part_without_rounds_no_noise_is_told(tmp_path: Path) -> None:
    Record("a machine", 2, "2020-02-20", tracing=0.97).write(tmp_path / "peers.json")
    shown = peers("--show", "--out", str(tmp_path))
    assert shown.exit_code == 0
    assert "cached kept with tracing" in shown.output
    assert "noise" not in shown.output


def test_bare_processes_end_where_the_first_question_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Bare, what: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bare, "_tell", interrupted)
    processes = Bare(Path(sys.executable), {}, 1, 1, b"")
    with pytest.raises(KeyboardInterrupt), processes:
        pass
    assert not [pid for pid in processes.pids if Path(f"/proc/{pid}").exists()]


def test_a_bare_process_says_nothing_when_nobody_listens_any_more() -> None:
    code = f"import runpy, sys; sys.argv = ['bare', '1']; runpy.run_path({bare.__file__!r}, run_name='__main__')"
    stub = "import sys, types; kernels = types.ModuleType('benchmarks.peers.kernels'); kernels.Plan = None\n"
    stub += "def Kernels(plan): raise BrokenPipeError\n"
    stub += "kernels.Plan = types.SimpleNamespace(from_environment=lambda: None); kernels.Kernels = Kernels\n"
    stub += "sys.modules['benchmarks.peers.kernels'] = kernels\n"
    done = subprocess.run(
        [sys.executable, "-c", stub + code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
