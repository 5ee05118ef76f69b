"""A run that cannot be says why, in one line, and what failed is never taken for what could not be tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kubernetes import __main__ as command


@pytest.fixture
def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cluster-test.json"
    monkeypatch.setattr(command, "OUTCOMES", path)
    return path


def starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program that starts a cluster, which is this shell script; what follows `--` is in "$@"."""
    program = tmp_path / "cluster"
    program.write_text(f'#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("FERRY_CLUSTER", str(program))


@pytest.mark.parametrize(("possible", "status"), [(True, 0), (False, 1)])
def test_a_cluster_that_does_not_start_is_a_failure_only_where_it_must(
    *,
    possible: bool,
    status: int,
    tmp_path: Path,
    outcomes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    starting(tmp_path, monkeypatch, "echo no cgroups here >&2; exit 3")
    assert command.on_a_cluster(["true"], [], None, possible=possible) == status
    said = capfd.readouterr().err
    assert "no cgroups here" in said
    assert "NOT TRIED" in said


def test_what_scenarios_come_to_is_the_status(tmp_path: Path, outcomes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starting(tmp_path, monkeypatch, 'kubectl() { echo mine; }; exec "$@"')
    outcomes.write_text("of an earlier run")
    assert command.on_a_cluster(["true"], [], None, possible=True) == 0
    assert command.on_a_cluster(["sh", "-c", "exit 7"], [], None, possible=True) == 7
    assert not outcomes.exists()


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [([], 0), (["ok", ""], 0), (["skipped: no nodes", ""], 0), (["ok", "1 calls failed", ""], 1)],
)
def test_a_run_that_does_not_end_is_stopped_and_fails_where_something_had_failed(
    *, verdicts: list[str], status: int, tmp_path: Path, outcomes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.dumps([{"scenario": f"number {i}", "verdict": verdict} for i, verdict in enumerate(verdicts)])
    starting(tmp_path, monkeypatch, f"printf '%s' '{kept}' > {outcomes}; exec sleep 600")
    assert command.on_a_cluster(["true"], [], 0.02, possible=True) == status


def test_memory_is_read() -> None:
    assert command.available_memory() > 1 << 20
