"""`ferry models promote` shows how a version was judged, and asks where nobody has, or where it is worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.models import app
from serving.repository.manifest import Label
from serving.repository.repository import ModelRepository
from tests.tiny_models import LABELS, classifier_graph, classifier_manifest, publish


def judged(accuracy: float, n: int = 3589) -> dict[str, Any]:
    return {"public_test": {"n": n, "accuracy": accuracy, "macro_f1": accuracy, "ece": 0.02}}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    publish(tmp_path, classifier_manifest(version="1", evaluation=judged(0.68)), classifier_graph())
    return tmp_path


def add(models: Path, evaluation: dict[str, Any], **changes: Any) -> None:
    publish(models, classifier_manifest(version="2", evaluation=evaluation, **changes), classifier_graph())


def promote(models: Path, *options: str, answer: str | None = None) -> tuple[int, str]:
    arguments = ["promote", "tiny", "2", "--models-dir", str(models), *options]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, input=answer)
    return result.exit_code, result.output


def served(models: Path) -> str | None:
    return ModelRepository(models).stable("tiny")


def test_a_better_version_is_shown_beside_the_served_one_and_promoted_without_a_question(models: Path) -> None:
    add(models, judged(0.71))
    code, output = promote(models)
    assert (code, served(models)) == (0, "2")
    assert "accuracy, public_test" in output
    for figure in ("0.680", "0.710", "+0.030"):
        assert figure in output
    assert "Promote it nevertheless?" not in output


def test_a_loss_within_a_point_needs_no_question(models: Path) -> None:
    add(models, judged(0.672))
    assert promote(models)[0] == 0


DOUBTFUL: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nobody": ({}, {}, "nobody has judged version 2"),
    "only the quantized file was judged": ({"variants": {"int8": {"gate": 0.01}}}, {}, "nobody has judged version 2"),
    "worse": (judged(0.6), {}, "accuracy on public_test is 0.080 lower"),
    "at chance, on other pictures": (judged(0.15, 100), {}, "on public_test, accuracy 0.150 is below 0.3"),
    "nonsense": (judged(float("nan"), 100), {}, "nobody has judged version 2"),
    "lacks an expression": (
        judged(0.7),
        {"labels": (*LABELS[:-1], Label(name="surprised", expression=None))},
        "it never answers surprised, which version 1 does",
    ),
}


@pytest.mark.parametrize(("evaluation", "changes", "says"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_is_doubtful_is_asked(
    models: Path, evaluation: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    add(models, evaluation, **changes)
    code, output = promote(models)
    assert (code, served(models)) == (1, "1"), "nobody answered"
    assert says in output
    assert "--yes promotes it without asking" in output
    assert promote(models, answer="n\n")[0] == 1
    assert served(models) == "1"
    assert promote(models, answer="y\n")[0] == 0
    assert served(models) == "2"


def test_a_pipeline_says_yes_beforehand_and_still_sees_why_not(models: Path) -> None:
    add(models, {})
    code, output = promote(models, "--yes")
    assert (code, served(models)) == (0, "2")
    assert "nobody has judged version 2" in output
    assert "tiny: 1 -> 2" in output
    code, output = promote(models)
    assert "2 is stable and was served already" in output


def test_the_way_back_is_there_after_the_first_promotion(models: Path) -> None:
    add(models, {})
    promote(models, "--yes")
    result = CliRunner().invoke(app, ["rollback", "tiny", "--models-dir", str(models)])
    assert "tiny: 2 -> 1" in result.output
    assert served(models) == "1"
