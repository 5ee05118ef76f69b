"""From pictures to a published version, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.models import app
from modelkit.data.expressions import DataError, read_expressions
from modelkit.data.votes import VOTES
from modelkit.judging.opinions import classify, vote
from modelkit.releases.classifier import Run
from modelkit.training.recipes import RECIPES
from serving.repository.repository import ModelRepository
from tests.full_disk import full_disk
from tests.modelkit.recipe import TINY

pytestmark = pytest.mark.toolchain

KEYS = {"model", "version", "n", "accuracy", "macro_f1", "mean_recall", "ece", "per_class", "copy_free", "data"}


@pytest.fixture
def ferry_models(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RECIPES, "arcface", TINY.with_changes(name="arcface", epochs=12))
    monkeypatch.setenv("FERRY_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str, *arguments: str, fails: bool = False) -> str:
        options = [] if command == "list" else ["--data", str(data)]
        if command in {"train", "export", "publish", "frontier"}:
            options += ["--work-dir", str(tmp_path / "work")]
        result = CliRunner().invoke(app, [command, *arguments, *options])
        assert result.exit_code == int(fails), result.output
        return result.output

    return run


def test_train_export_publish_evaluate_list(ferry_models, data: Path, tmp_path: Path) -> None:
    assert "3 are near-duplicates" in ferry_models("train", "arcface")
    ferry_models("export", "arcface")
    assert "published" in ferry_models("publish", "arcface")
    version = tmp_path / "models" / "arcface" / "1"
    assert {path.name for path in version.iterdir()} == {
        "model.onnx", "manifest.json", "record.json", "curves.png", "confusion.png"
    }  # fmt: skip

    reports = json.loads(ferry_models("evaluate", "--json"))
    assert [report["model"] for report in reports] == ["arcface", "ensemble"]
    assert all(report.keys() >= KEYS for report in reports)
    assert reports[0]["copy_free"]["n"] == 32
    assert reports[0]["n"] == 35
    assert reports[0]["version"] == "1"
    assert reports[1]["version"] == "arcface:1"
    assert reports[0]["accuracy"] == reports[1]["accuracy"] > 0.5

    record = json.loads((version / "record.json").read_text())
    assert record["evaluation"]["public_test"]["accuracy"] == reports[0]["accuracy"]
    assert record["data"]["near_duplicates_of_evaluation"] == 3
    assert len(record["history"]) == 12
    assert np.sum(record["confusion"]["counts"]) == 35

    averaged = json.loads(ferry_models("evaluate", "arcface", "--tta", "--json"))
    assert [report["model"] for report in averaged] == ["arcface"]
    assert averaged[0]["ece"] != reports[0]["ece"]

    assert "recall happy" in ferry_models("evaluate", "arcface")
    listed = json.loads(ferry_models("list", "--json"))
    assert [(row["model"], row["version"], row["state"]) for row in listed] == [("arcface", "1", "ok")]

    stored = ModelRepository(tmp_path / "models").open("arcface", "1")
    images = read_expressions(data, "public_test").images
    assert np.abs(classify(stored, images[:1]) - classify(stored, images)[:1]).max() < 1e-5


def test_unfinished_or_poor_models_are_not_published_by_accident(ferry_models, tmp_path: Path, monkeypatch) -> None:
    assert "export arcface` first" in ferry_models("publish", "arcface", fails=True)
    ferry_models("train", "arcface", "--epochs", "1")
    ferry_models("export", "arcface", "--epochs", "1")
    monkeypatch.setitem(RECIPES, "arcface", TINY.with_changes(name="arcface", gate=1.01))
    assert "below its gate 1.01" in ferry_models("publish", "arcface", fails=True)
    assert not list((tmp_path / "models").glob("*/*/manifest.json"))
    ferry_models("publish", "arcface", "--below-gate")


@pytest.mark.slow
def test_teachers_soften_the_labels_and_are_remembered(ferry_models, tmp_path: Path, monkeypatch) -> None:
    ferry_models("train", "arcface")
    ferry_models("export", "arcface")
    ferry_models("publish", "arcface")
    monkeypatch.setitem(RECIPES, "pupil", TINY.with_changes(name="pupil", gate=0.0))
    ferry_models("train", "pupil", "--teacher", "arcface")
    ferry_models("train", "pupil", "--epochs", "3")  # goes on without being told again, and finds nothing to do
    ferry_models("export", "pupil")
    with np.load(tmp_path / "work" / "pupil" / "taught.npz") as table:
        np.testing.assert_allclose(table["probabilities"].sum(axis=1), 1, atol=1e-5)
    record = json.loads((tmp_path / "work" / "pupil" / "record.json").read_text())
    assert len(record["teachers"]) == 1
    assert record["teachers"][0].startswith("arcface 1 (")


def test_on_a_full_disk_a_run_does_not_forget_its_teachers(data: Path, tmp_path: Path) -> None:
    pupil, teacher = (Run(TINY, data, tmp_path / "work" / name, "cpu") for name in ("pupil", "teacher"))
    selection = pupil.selection()
    with pytest.raises(DataError, match="teacher cannot teach"):
        pupil.trainer(selection, [teacher])
    with full_disk(5), pytest.raises(OSError, match="File too large"):
        pupil.trainer(selection, [teacher])
    assert pupil.teacher_runs == ["teacher"]


def test_a_run_that_started_from_a_file_teaches_and_is_exported_without_being_told_so(
    ferry_models, tmp_path: Path, monkeypatch
) -> None:
    for command in ("train", "export", "publish"):
        ferry_models(command, "arcface")
    start = tmp_path / "models" / "arcface" / "1" / "model.onnx"
    monkeypatch.setitem(RECIPES, "teacher", TINY.with_changes(name="teacher", epochs=1))
    monkeypatch.setitem(RECIPES, "pupil", TINY.with_changes(name="pupil", epochs=1))
    ferry_models("train", "teacher", "--init", str(start))
    ferry_models("export", "teacher")
    assert json.loads((tmp_path / "work" / "teacher" / "record.json").read_text())["initial_weights"] == "model.onnx"
    ferry_models("train", "pupil", "--teacher-run", "teacher")
    start.rename(tmp_path / "moved.onnx")
    assert "is not there; name it with --init" in ferry_models("export", "teacher", fails=True)


@pytest.mark.slow
def test_votes_and_labels_are_learnt_by_two_heads_that_answer_as_one(
    ferry_models, data: Path, tmp_path: Path, monkeypatch
) -> None:
    train = read_expressions(data, "train")
    votes = np.full((len(train), len(VOTES)), 0)
    seen = [
        ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")[label] for label in train.labels
    ]
    votes[np.arange(len(train)), [VOTES.index(name) for name in seen]] = 8
    votes[:, VOTES.index("contempt")] = 2
    (data / "ferplus").mkdir()
    columns = {"name": train.names, **{name: votes[:, i] for i, name in enumerate(VOTES)}}
    pq.write_table(pa.table(columns), data / "ferplus" / "votes.parquet")
    monkeypatch.setitem(RECIPES, "arcface", TINY.with_changes(name="arcface", epochs=12, heads=2, symmetric=True))
    for command in ("train", "export", "publish"):
        ferry_models(command, "arcface")
    version = tmp_path / "models" / "arcface" / "1"
    assert (version / "frontier.png").stat().st_size > 1000
    joint = json.loads((version / "manifest.json").read_text())["training"]["joint"]
    assert sum(joint["prior"]) == pytest.approx(1)
    record = json.loads((version / "record.json").read_text())
    best = max(point["crowd_accuracy"] + point["crowd_mean_recall"] for point in record["frontier"])
    chosen = next(p for p in record["frontier"] if all(p[key] == joint[key] for key in ("label_share", "prior_share")))
    assert chosen["crowd_accuracy"] + chosen["crowd_mean_recall"] == best
    assert record["held_back"]["accuracy"] == pytest.approx(chosen["crowd_accuracy"], abs=1e-3)
    assert record["evaluation"]["public_test"]["accuracy"] > 0.5
    assert "is not one of 0, 0.05" in ferry_models("export", "arcface", "--label-share", "0.33", fails=True)
    ferry_models("export", "arcface", "--label-share", "0.4")
    chosen = json.loads((tmp_path / "work" / "arcface" / "record.json").read_text())
    least = [point for point in chosen["frontier"] if point["label_share"] == 0.4]
    assert chosen["joint"]["label_share"] == 0.4
    assert chosen["held_back"]["accuracy"] == pytest.approx(
        max(least, key=lambda point: point["crowd_accuracy"] + point["crowd_mean_recall"])["crowd_accuracy"], abs=1e-3
    )
    text = ferry_models("frontier", "arcface", "--out", str(tmp_path / "frontier.png"))
    assert "arcface, by falling accuracy of the crowd" in text
    assert (tmp_path / "frontier.png").stat().st_size > 1000
    assert "name one run or two" in ferry_models("frontier", "arcface", "arcface", fails=True)
    assert "NAME=FILE" in ferry_models("frontier", "arcface", "--init", "x", fails=True)
    ferry_models("train", "arcface", "--refine", "--epochs", "1")  # both heads are in the published file
    monkeypatch.setitem(RECIPES, "pupil", TINY.with_changes(name="pupil", heads=2, gate=0.0, epochs=1))
    ferry_models("train", "pupil", "--teacher-run", "arcface")  # each head learns from the teacher's own


def test_a_finished_run_teaches_another_that_sees_the_same_views(ferry_models, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(RECIPES, "pupil", TINY.with_changes(name="pupil", gate=0.0))
    assert "arcface cannot teach before" in ferry_models("train", "pupil", "--teacher-run", "arcface", fails=True)
    ferry_models("train", "arcface")
    ferry_models("train", "pupil", "--teacher-run", "arcface")
    ferry_models("train", "pupil")  # knows its teacher still
    assert "other teachers" in ferry_models("train", "pupil", "--teacher-run", "pupil", fails=True)
    ferry_models("export", "pupil")
    record = json.loads((tmp_path / "work" / "pupil" / "record.json").read_text())
    assert record["teachers"] == ["run arcface"]


@pytest.mark.slow
def test_a_published_model_teaches_by_what_it_says_of_every_view(ferry_models, tmp_path: Path, monkeypatch) -> None:
    for command in ("train", "export", "publish"):
        ferry_models(command, "arcface")
    monkeypatch.setitem(RECIPES, "pupil", TINY.with_changes(name="pupil", gate=0.0))
    ferry_models("train", "pupil", "--teacher", "arcface", "--every-view")
    ferry_models("train", "pupil")  # knows its teacher still
    assert "other teachers" in ferry_models("train", "pupil", "--teacher-run", "arcface", fails=True)
    ferry_models("export", "pupil")
    work = tmp_path / "work" / "pupil"
    assert not (work / "taught.npz").exists()
    (teacher,) = json.loads((work / "record.json").read_text())["teachers"]
    assert teacher.startswith("arcface 1 (")


def test_a_refinement_goes_on_from_the_published_version(ferry_models, data: Path, tmp_path: Path, monkeypatch) -> None:
    assert "no model 'arcface'" in ferry_models("train", "arcface", "--refine", fails=True)
    for command in ("train", "export", "publish"):
        ferry_models(command, "arcface")
    gentle = {"epochs": 1, "learning_rate": 1e-6, "augmentation_schedule": ((1.0, 0.0),)}
    monkeypatch.setitem(RECIPES, "arcface", TINY.with_changes(name="arcface", refinement=gentle))
    assert "arcface --data" in (said := ferry_models("train", "arcface", "--refine"))
    assert "--refine" in said.partition("next: ")[2]
    ferry_models("export", "arcface", "--refine")
    ferry_models("publish", "arcface", "--refine")

    before, after = (ModelRepository(tmp_path / "models").open("arcface", version) for version in "12")
    origin = f"arcface 1 ({before.manifest.digest[:12]})"
    assert after.manifest.training["initial_weights"] == origin
    assert after.manifest.training["teachers"] == [origin]
    assert after.manifest.training["recipe"]["epochs"] == 1
    images = read_expressions(data, "public_test").images
    assert np.abs(classify(before, images) - classify(after, images)).max() < 0.1
    assert "give one of them" in ferry_models("train", "arcface", "--refine", "--init", "x.pth", fails=True)


def test_unknown_names_are_explained(ferry_models) -> None:
    said = ferry_models("train", "resnet", fails=True)
    assert "no recipe makes 'resnet'; there are arcface, efficientnet, iresnet and, for faces, detector" in said
    assert "no model 'nobody'" in ferry_models("evaluate", "nobody", fails=True)


def test_vote_leaves_out_models_without_an_opinion() -> None:
    sure, silent = np.zeros((2, 7), np.float32), np.full((2, 7), np.nan, np.float32)
    sure[:, 1] = 1
    half = silent.copy()
    half[0] = 1 / 7
    answer = vote([sure, half, silent], [0.4, 0.4, 0.2])
    assert answer[0].tolist() == pytest.approx([1 / 14, 8 / 14, *[1 / 14] * 5])
    assert answer[1].tolist() == pytest.approx(sure[1].tolist())
    assert np.isnan(vote([silent], [1.0])).all()
