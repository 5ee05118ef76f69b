"""The table of gains: its arithmetic, what it prints, and a real measurement from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.gains import precision
from benchmarks.gains.report import markdown, save
from benchmarks.gains.row import Figures, Row
from serving.repository.repository import ModelRepository
from tests.processes import ROOT
from tests.serving.models.backends import fake_gpu
from tests.tiny_models import classifier_graph, classifier_manifest, publish

ROW = Row(
    "static INT8", "arcface", "2-4x", "float32", Figures(100, 10, 8.0, 0.65), Figures(250, 4, 2.0, 0.64), "per channel"
)


def test_ratios_are_of_the_baseline() -> None:
    record = ROW.record()
    assert record["throughput_ratio"] == pytest.approx(2.5)
    assert record["p50_ratio"] == pytest.approx(0.4)
    assert record["size_ratio"] == pytest.approx(0.25)
    assert record["accuracy_points"] == pytest.approx(-1)


def test_what_was_not_measured_has_no_ratio() -> None:
    skipped = Row("TensorRT", "arcface", "5-10x", "", note="skipped: no GPU")
    assert skipped.record()["throughput_ratio"] is None
    assert Row("x", "y", "", "", Figures(per_second=1), Figures(p50_ms=2)).ratio("per_second") is None


def test_reports_show_figures_ratios_and_the_reason_of_a_skip(tmp_path: Path) -> None:
    rows = [ROW, Row("TensorRT", "arcface", "5-10x", "", note="skipped: no GPU")]
    text = markdown(rows, "a machine")
    assert "250/s (2.50x)" in text
    assert "0.640 (-1.0 points)" in text
    assert "skipped: no GPU" in text
    written = save(rows, "a machine", {"rows": [row.record() for row in rows]}, tmp_path / "out")
    assert {path.name for path in written} >= {"gains.md", "gains.json"}
    assert json.loads((tmp_path / "out" / "gains.json").read_text())["rows"][1]["note"] == "skipped: no GPU"


@pytest.mark.slow
def test_command_measures_and_writes_its_reports(tmp_path: Path) -> None:
    arguments = ["gains", "--only", "batch", "--only", "ensemble", "--seconds", "0.1", "--json", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--models-dir", str(ROOT / "models")])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {row["subject"] for row in rows if row["technique"].startswith("batch")} == {
        "arcface",
        "detector",
        "efficientnet",
    }
    assert all(row["throughput_ratio"] > 0 for row in rows if row["measured"])
    assert [row["note"] for row in rows if not row["measured"]] == ["skipped: needs --data"] * 2
    assert (tmp_path / "gains.md").exists()


def test_what_this_machine_or_call_lacks_is_skipped_with_a_reason(tmp_path: Path) -> None:
    arguments = ["gains", "--only", "precision", "--only", "tensorrt", "--json", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--models-dir", str(ROOT / "models")])
    assert result.exit_code == 0, result.output
    notes = {row["technique"]: row["note"] for row in json.loads(result.stdout)["rows"] if not row["measured"]}
    assert notes["static INT8"] == notes["BF16"] == "skipped: needs --data"
    if "TensorRT FP16" in notes:
        assert "NVIDIA GPU" in notes["TensorRT FP16"]


def test_unknown_row_is_named() -> None:
    result = CliRunner().invoke(app, ["gains", "--only", "magic"])
    assert result.exit_code == 2
    assert "magic" in result.output


def test_tensorrt_is_measured_where_a_gpu_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    publish(tmp_path / "models", classifier_manifest(), classifier_graph())
    stored = [ModelRepository(tmp_path / "models").open("tiny", "1")]
    fake_gpu.remove(monkeypatch)
    (skipped,) = precision.tensorrt(stored, None, tmp_path, None, 0.01)
    assert skipped.note.startswith("skipped: no NVIDIA GPU")
    fake_gpu.install(monkeypatch)
    (row,) = precision.tensorrt(stored, None, tmp_path, None, 0.01)
    assert row.subject == "tiny"
    assert row.record()["throughput_ratio"] > 0
    assert row.note == f"on {fake_gpu.H100.name}"
