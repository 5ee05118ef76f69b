"""`ferry tune` where there is no room for what it finds, and where a model is not what its manifest says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from serving.models import tuning
from serving.models.tuning import Candidate, Measurement
from serving.repository.manifest import Activation, OutputSpec
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


def test_a_model_without_the_output_that_its_manifest_names_is_said_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("cli.tune.splits", lambda *_, **__: [(1, 1)])
    models = tmp_path / "models"
    output = OutputSpec(scores="nosuch", activation=Activation.SOFTMAX)
    wrong = publish(models, classifier_manifest("a-wrong", output=output), classifier_graph())
    publish(models, classifier_manifest("right"), classifier_graph())
    tune = ["tune", "--models-dir", str(models), "--seconds", "0.05", "--keep-anyway", "--json"]
    done = CliRunner().invoke(app, tune)
    assert done.exit_code == 1
    assert [record["model"] for record in json.loads(done.stdout)] == ["right"]
    said = "error: a-wrong 1 has no output 'nosuch'; it has logits; "
    assert f"{said}correct {wrong / 'manifest.json'}, and see with `ferry models verify a-wrong`\n" in done.stderr
