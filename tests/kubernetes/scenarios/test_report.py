"""Outcomes can be read: as a table, as JSON, as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kubernetes.scenarios.outcome import Call, Event, Outcome, call_of
from tests.kubernetes.scenarios.report import table, write


def outcomes() -> list[Outcome]:
    calls = [
        call_of({"began": 10.0, "seconds": 0.1, "code": "OK", "error": "", "faces": 1, "models": ["detector:1"]}),
        Call(11.0, 3.25, code="UNAVAILABLE", error="detector is gone"),
        Call(12.0, 0.2, degraded=True),
    ]
    broken = Outcome("kill", 10.0, 20.0, "AssertionError: 1 calls failed", [Event(10.5, "kill -9")], calls)
    return [Outcome("drain", 0.0, 5.0, "ok", facts=["5 pods moved"]), broken]


def test_the_table_says_what_failed_and_what_callers_were_told() -> None:
    lines = table(outcomes()).splitlines()
    assert lines[1].split() == ["drain", "ok", "0", "0", "0", "0.00", "s", "5", "s"]
    assert lines[2].strip() == "5 pods moved"
    assert lines[3].split() == ["kill", "FAILED", "3", "1", "1", "3.25", "s", "10", "s"]
    assert lines[4].strip() == "1 x UNAVAILABLE: detector is gone"
    assert lines[5].strip() == "AssertionError: 1 calls failed"


def test_everything_is_kept(tmp_path: Path) -> None:
    written = write(outcomes(), tmp_path / "out")
    kept = json.loads(written[0].read_text())
    assert [item["scenario"] for item in kept] == ["drain", "kill"]
    assert kept[1]["events"] == [{"at": 10.5, "text": "kill -9"}]
    assert len(kept[1]["calls"]) == 3
    assert all(path.stat().st_size for path in written)
