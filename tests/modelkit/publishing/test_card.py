"""Model cards of the published models say what a reader must know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.models import app
from serving.repository.repository import ModelRepository
from tests.processes import ROOT

MODELS = ROOT / "models"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["card", *arguments, "--models-dir", str(MODELS)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["arcface", "efficientnet", "detector"])
def test_a_card_holds_figures_origin_licence_and_limits(name: str) -> None:
    manifest = ModelRepository(MODELS).open(name, "stable").manifest
    text, values = run(name), json.loads(run(name, "--json"))
    assert manifest.digest in text
    assert manifest.license in text
    assert "2024/1689" in text
    assert values["digest"] == manifest.digest
    (figures, *_) = values["evaluation"].values()
    assert f"accuracy {figures['accuracy']:.3f}" in text
    assert f"{figures['per_class']['happy']:.2f}" in text
    if name != "detector":
        crowd, label = (text.index(f"accuracy {each['accuracy']:.3f}") for each in (figures["crowd"], figures))
        assert crowd < label
        dropped = manifest.training["data"]["near_duplicates_of_evaluation"]
        assert f"{dropped} near-duplicates of the evaluation split" in text.replace("\n", " ")


def test_a_version_that_nobody_judged_says_so(tmp_path: Path) -> None:
    from tests.tiny_models import classifier_graph, classifier_manifest, publish

    publish(tmp_path, classifier_manifest(), classifier_graph())
    result = CliRunner().invoke(app, ["card", "tiny", "--models-dir", str(tmp_path)])
    assert "Nobody has judged this version." in result.output
    assert CliRunner().invoke(app, ["card", "nobody", "--models-dir", str(tmp_path)]).exit_code == 1
