"""Two versions on the same pictures: what differs is counted, and called real only when it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.models import app
from modelkit.judging.compare import compare, mcnemar
from tests.tiny_models import classifier_graph, classifier_manifest, publish

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize(
    ("only_a", "only_b", "expected"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 2 * 0.5**5),
        (1, 9, 2 * (1 + 10) / 2**10),
        (0, 10, 2 / 2**10),
    ],
)
def test_mcnemar_is_the_exact_binomial(only_a: int, only_b: int, expected: float) -> None:
    assert mcnemar(only_a, only_b) == pytest.approx(expected)
    assert mcnemar(only_b, only_a) == pytest.approx(expected)


def test_mcnemar_of_many_pictures_stays_finite_and_continuous() -> None:
    assert mcnemar(460, 539) == pytest.approx(mcnemar(460, 540), rel=0.1)
    assert mcnemar(0, 5000) < 1e-300
    assert mcnemar(2500, 2500) == 1.0


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    for version, favourite in (("1", 3), ("2", 0), ("3", 3)):
        slope = [4.0 if i == favourite else 0.0 for i in range(7)]
        publish(root, classifier_manifest(version=version), classifier_graph(slope))
    return root


def test_versions_that_answer_alike_show_no_difference(models: Path, data: Path) -> None:
    result = compare(models, "tiny", ("1", "3"), data, seconds=0.01)
    assert result["n"] == 35
    assert result["agreement"] == 1
    assert (result["only_a_right"], result["only_b_right"]) == (0, 0)
    assert result["p_value"] == 1
    assert result["verdict"] == "no difference shown"
    assert result["a"]["accuracy"] == result["b"]["accuracy"]


def test_versions_that_name_different_expressions_are_told_apart(models: Path, data: Path) -> None:
    result = compare(models, "tiny", ("1", "2"), data, seconds=0.01)
    assert result["agreement"] == 0
    assert result["only_a_right"] == result["only_b_right"] == 5, "each is right for its own five pictures"
    assert result["verdict"] == "no difference shown"


def test_commands_compare_verify_promote_and_roll_back(models: Path, data: Path) -> None:
    run = CliRunner()
    here = ["--models-dir", str(models)]
    shown = run.invoke(app, ["diff", "tiny", "1", "2", "--data", str(data), *here])
    assert shown.exit_code == 0, shown.output
    assert "McNemar p = 1" in shown.output
    assert "tiny: 1 -> 3" in run.invoke(app, ["promote", "tiny", "3", "--yes", *here]).output
    listed = json.loads(run.invoke(app, ["list", "--json", *here]).stdout)
    assert [row["version"] for row in listed if row["stable"]] == ["3"]
    assert "tiny: 3 -> 1" in run.invoke(app, ["rollback", "tiny", *here]).output
    assert run.invoke(app, ["verify", *here]).exit_code == 0
    (models / "tiny" / "2" / "model.onnx").write_bytes(b"tampered")
    broken = run.invoke(app, ["verify", "--json", *here])
    assert broken.exit_code == 1
    assert ["not what its manifest says" in row["problem"] for row in json.loads(broken.stdout)] == [False, True, False]
    refused = run.invoke(app, ["promote", "tiny", "2", *here])
    assert refused.exit_code == 1
    assert "not what its manifest says" in refused.output
    assert run.invoke(app, ["rollback", "nobody", *here]).exit_code == 1
