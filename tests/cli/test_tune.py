"""`ferry tune` where there is no room for what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from serving.models import tuning
from serving.models.tuning import Candidate, Measurement
from tests.full_disk import full_disk
from tests.tiny_models import classifier_graph, classifier_manifest, publish


def test_on_a_full_disk_what_is_not_delivered_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "measure", lambda *_: [Measurement(Candidate("onnxruntime", "fp32", 1, 1), 9, 1, 0.0)])
    models = tmp_path / "models"
    publish(models, classifier_manifest(), classifier_graph())
    tune = ["tune", "--models-dir", str(models), "--keep-anyway", "--json"]
    with full_disk(0):
        kept = CliRunner().invoke(app, tune)
        delivered = CliRunner().invoke(app, [*tune, "--deliver"])
    assert (kept.exit_code, delivered.exit_code) == (0, 1)
    assert [record["kept"] for record in json.loads(kept.stdout)] == [None]
    assert "error: not delivered with tiny: " in delivered.stderr
    assert {path.name for path in (models / "tiny" / "1").iterdir()} == {"manifest.json", "model.onnx"}
    assert not list((tmp_path / "cache").rglob("*.new"))
