"""`ferry models evaluate`, from the command line, on tiny models and small data: no PyTorch is needed for any of it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.models import app
from modelkit.data.votes import VOTES
from tests.modelkit.judging.faces import picture, write_folder, write_parquet
from tests.processes import ROOT
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish

Evaluate = Callable[..., Any]
TOOLCHAIN = (
    "torch",
    "torchvision",
    "timm",
    "ultralytics",
    "matplotlib",
    "onnx",
    "onnxscript",
    "safetensors",
    "skimage",
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """arcface says happy of what is bright, efficientnet sad; the detector finds bright faces and says angry."""
    root = tmp_path / "models"
    publish(root, classifier_manifest("arcface"), classifier_graph((0, 0, 0, 8, 0, 0, 0)))
    publish(root, classifier_manifest("efficientnet"), classifier_graph((0, 0, 0, 0, 0, 2, 0)))
    publish(root, detector_manifest(), detector_graph())
    return root


@pytest.fixture
def ferry(models: Path, tmp_path: Path) -> Evaluate:
    def run(data: Path, *arguments: str, fails: bool = False, command: str = "evaluate") -> Any:
        where = ["--data", str(data), "--models-dir", str(models), "--work-dir", str(tmp_path / "work")]
        result = CliRunner().invoke(app, [command, *arguments, *where])
        assert (result.exit_code != 0) == fails, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.output

    return run


@pytest.fixture
def voted(tmp_path: Path) -> Path:
    """Two bright faces: the crowd is nearly sure that the first is happy, and that the second is sad."""
    return write_parquet(
        tmp_path / "voted.parquet",
        [3, 4, 0],
        [picture(255, noise=i) for i in range(3)],
        votes_happy=[9, 1, 0],
        votes_sad=[0, 8, 0],
        votes_neutral=[1, 1, 0],
        votes_NF=[0, 0, 10],
    )


def test_models_and_their_vote_are_judged_by_the_crowd_and_by_the_label(ferry: Evaluate, voted: Path) -> None:
    reports = {report["model"]: report for report in ferry(voted, "--json")}
    assert reports.keys() == {"arcface", "detector", "efficientnet", "ensemble"}
    one = reports["arcface"]
    assert (one["n"], one["accuracy"]) == (3, pytest.approx(1 / 3))
    assert (one["crowd"]["n"], one["crowd"]["accuracy"], one["crowd"]["mean_recall"]) == (2, 0.5, 0.5)
    assert one["crowd"]["per_class"]["happy"] == 1
    assert one["crowd"]["cross_entropy"] > one["data"]["one_person"]["crowd_entropy"] >= 0
    assert one["data"]["one_person"]["accuracy"] == pytest.approx(0.85)
    assert len(one["data"]["digest"]) == 64
    assert one["data"]["left_out"] == []
    assert reports["efficientnet"]["crowd"]["per_class"]["sad"] == 1
    assert 0 <= reports["detector"]["found"] <= 1


def test_the_table_shows_the_human_figure_beside_the_models(ferry: Evaluate, voted: Path) -> None:
    text = ferry(voted, "arcface", "ensemble")
    for words in ("the crowd's majority", "each picture's label", "one person", "mean recall", "digest", "ensemble"):
        assert words in text


def test_what_is_taken_for_what_is_drawn_and_counted(ferry: Evaluate, voted: Path, tmp_path: Path) -> None:
    ferry(voted, "--pictures", str(tmp_path / "drawn"))
    names = ("arcface", "detector", "efficientnet", "ensemble")
    drawn = {path.name: path.stat().st_size for path in (tmp_path / "drawn").iterdir()}
    assert sorted(drawn) == [f"confusion-{name}.png" for name in names]
    assert min(drawn.values()) > 1000
    for report in ferry(voted, "--json"):
        counts = report["crowd"]["confusion"]
        assert sum(map(sum, counts)) == report["crowd"]["n"]
        assert sum(counts[i][i] for i in range(7)) == pytest.approx(report["crowd"]["accuracy"] * report["crowd"]["n"])


def test_harder_pictures_are_judged_beside_drawn_and_printed(ferry: Evaluate, voted: Path, tmp_path: Path) -> None:
    reports = {report["model"]: report for report in ferry(voted, "--harder", "--json")}
    assert reports["arcface"]["harder"]["as it is"] == {"n": 2, "accuracy": 0.5, "mean_recall": 0.5}
    assert reports["ensemble"]["harder"].keys() == reports["arcface"]["harder"].keys() >= {"24 px", "rolled 30°"}
    assert "harder" not in ferry(voted, "--json")[0]
    text = ferry(voted, "--harder", "arcface", "--pictures", str(tmp_path / "drawn"))
    for words in ("2 faces made harder", "24 px", "light 0.25", "one side 0.2", "rolled 30°"):
        assert words in text
    assert (tmp_path / "drawn" / "harder.png").stat().st_size > 1000


def photos(data: Path) -> Path:
    """Two photos with a bright face each, the second of which no label names."""
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[16:80, 16:80] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    table = {"name": ["a", "b"], "image": [buffer.getvalue()] * 2, "boxes_xyxy": [[[16.0, 16.0, 80.0, 80.0]], []]}
    (data / "faces").mkdir(parents=True)
    pq.write_table(pa.table(table), data / "faces" / "validation.parquet")
    return data


def test_a_list_of_corrections_may_be_given_or_left_out(ferry: Evaluate, tmp_path: Path) -> None:
    data, listed = photos(tmp_path / "mine"), tmp_path / "corrections.json"
    listed.write_text(json.dumps({"b": {"faces": [[16, 16, 80, 80]]}}))

    def judge(*more: str) -> Any:
        (report,) = ferry(data, "detector", "--json", *more)
        return report["n_faces"], report["corrected"]

    assert judge() == judge("--corrections", "none") == (1, 0)
    assert judge("--corrections", str(listed)) == (2, 1)
    assert "labels of 1 photos corrected" in ferry(data, "detector", "--corrections", str(listed)).replace("\n", " ")
    listed.write_text(json.dumps({"b": {"removed": [[1, 1, 2, 2]]}}))
    assert "has no label [1, 1, 2, 2]" in ferry(data, "detector", "--corrections", str(listed), fails=True)
    assert "is not a readable JSON file" in ferry(data, "detector", "--corrections", str(tmp_path / "x"), fails=True)


def test_a_detector_is_judged_on_harder_photos(ferry: Evaluate, tmp_path: Path) -> None:
    data = photos(tmp_path / "mine")
    (report,) = ferry(data, "detector", "--harder", "--json")
    assert report["harder_photos"]["as they are"]["n_faces"] == 1
    text = ferry(data, "detector", "--harder", "--pictures", str(tmp_path / "drawn"))
    assert "face fills 0.6 of the frame" in text
    assert (tmp_path / "drawn" / "harder-detector.png").stat().st_size > 1000


def test_the_file_of_landmarks_has_to_be_there(ferry: Evaluate, voted: Path, tmp_path: Path) -> None:
    assert "none.onnx is not a file" in ferry(voted, "--yunet", str(tmp_path / "none.onnx"), fails=True)


def test_one_set_of_labels_may_be_asked_for(ferry: Evaluate, voted: Path) -> None:
    (crowd,) = ferry(voted, "arcface", "--labels", "crowd", "--json")
    (own,) = ferry(voted, "arcface", "--labels", "fer2013", "--json")
    assert (crowd["n"], crowd["accuracy"], crowd["data"]["labels"]) == (2, 0.5, "crowd")
    assert (own["n"], own["data"]["labels"]) == (3, "fer2013")
    assert "crowd" not in own
    assert "label" not in ferry(voted, "arcface", "--labels", "crowd")
    assert "crowd" not in ferry(voted, "arcface", "--labels", "fer2013")


def test_a_crowd_that_nobody_asked_is_an_error(ferry: Evaluate, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [3])
    assert "nobody voted on these pictures" in ferry(path, "--labels", "crowd", fails=True)
    assert "crowd" not in ferry(path, "arcface", "--json")[0]


def test_two_runs_can_be_compared_by_the_digest(ferry: Evaluate, voted: Path) -> None:
    def digest(*more: str) -> str:
        found: str = ferry(voted, "arcface", "--json", *more)[0]["data"]["digest"]
        return found

    assert digest() == digest("--threads", "2") != digest("--limit", "2") == digest("--limit", "2")


def test_figures_without_copies_of_train_stand_beside(ferry: Evaluate, data: Path, tmp_path: Path) -> None:
    names = [f"public_test-{i}" for i in range(35)]
    counts = {vote: pa.array([10 * (vote == "happiness")] * 35, pa.int8()) for vote in VOTES}
    write_parquet(data / "ferplus" / "votes.parquet", [0] * 35, name=names, label=None, image=None, **counts)
    (report,) = ferry(data, "arcface", "--json")
    assert (report["n"], report["copy_free"]["n"]) == (35, 32)
    assert (report["crowd"]["n"], report["crowd"]["copy_free"]["n"]) == (35, 32)
    assert list((tmp_path / "work").glob("copies-*.npz"))
    (held_back,) = ferry(data, "arcface", "--split", "held-back", "--json")
    assert 0 < held_back["n"] < 35
    assert "copy_free" not in held_back


def test_a_folder_with_one_folder_for_each_expression_is_judged(ferry: Evaluate, tmp_path: Path) -> None:
    data = write_folder(
        tmp_path / "mine",
        Happiness={"a.jpg": picture(255, (90, 90), "JPEG"), "notes.txt": b"mine"},
        sad={"b.png": picture(250, (30, 40))},
        disgust={},
        contempt={"c.png": picture()},
    )
    (report,) = ferry(data, "arcface", "--json")
    assert (report["n"], report["accuracy"], report["per_class"]["disgust"]) == (2, 0.5, None)
    assert {name: group["n"] for name, group in report["by_size"].items()} == {"24 to 48 px": 1, "48 to 96 px": 1}
    text = ferry(data, "arcface")
    for words in ("folder contempt", "folder disgust, which is empty", "happiness/notes.txt"):
        assert words.lower() in text.lower().replace("\n", " ")
    assert "accuracy, face 24 to 48 px" in text
    assert "mine: 2 pictures, digest" in text
    assert "split" not in text


def test_what_was_judged_is_named(ferry: Evaluate, data: Path, voted: Path, tmp_path: Path) -> None:
    assert "voted.parquet: 3 pictures" in ferry(voted, "arcface")
    assert "public_test: 35 pictures" in ferry(data, "arcface", "--split", "public_test")
    mine = write_folder(tmp_path / "mine", happy={"a.png": picture(255)})
    text = ferry(mine, "arcface", "--split", "bla")
    assert "mine: 1 picture," in text
    assert "--split bla was not used" in text


def test_whole_photos_are_judged_end_to_end(ferry: Evaluate, tmp_path: Path) -> None:
    data = write_folder(
        tmp_path / "photos", happy={f"{grey}.png": picture(grey, (64, 64)) for grey in (255, 254, 0)}, sad={}
    )
    reports = {report["model"]: report for report in ferry(data, "--whole", "--json")}
    assert all(report["found"] == pytest.approx(2 / 3) for report in reports.values())
    assert reports["arcface"]["accuracy"] == pytest.approx(2 / 3)
    assert reports["ensemble"]["accuracy"] == pytest.approx(2 / 3)
    assert reports["detector"]["accuracy"] == 0
    assert "faces found" in ferry(data, "--whole")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root, "no public_test.parquet or public_test-*.parquet"),
        (lambda root: root / "absent", "or a folder with one folder for each expression"),
        (lambda root: write_parquet(root / "x.parquet", [9]), "label 9 of 'face-0' is not in 0..6"),
        (lambda root: write_folder(root / "f", happy={}), "holds a picture"),
    ],
)
def test_what_cannot_be_judged_is_one_line(ferry: Evaluate, tmp_path: Path, make: Any, message: str) -> None:
    (tmp_path / "root").mkdir()
    output = ferry(make(tmp_path / "root"), fails=True)
    assert message in output.replace("\n", "")
    assert "Traceback" not in output


def test_the_vote_is_fitted_by_the_crowd_and_not_by_the_label(ferry: Evaluate, data: Path, tmp_path: Path) -> None:
    def fitted(seen: str) -> Any:
        names = [f"train-{part}-{i}" for part in (0, 1) for i in range(70)]
        counts = {vote: pa.array([10 * (vote == seen)] * 140, pa.int8()) for vote in VOTES}
        write_parquet(data / "ferplus" / "votes.parquet", [0] * 140, name=names, label=None, image=None, **counts)
        return ferry(data, "--json", command="fit-vote")

    happy, sad = fitted("happiness"), fitted("sadness")
    weights = [dict(zip(found["names"], found["after"], strict=True)) for found in (happy, sad)]
    assert weights[0]["arcface"] > 0.9
    assert weights[1]["efficientnet"] > 0.9
    assert happy["truth"] == "crowd"
    assert happy["digest"] != sad["digest"]
    assert happy["figures"]["after"]["crowd"]["accuracy"] >= happy["figures"]["before"]["crowd"]["accuracy"]
    assert len(happy["diversity"]) == 3
    assert all(0 <= pair["double_fault"] <= 1 for pair in happy["diversity"])
    text = ferry(data, "--out", str(tmp_path / "recipe.toml"), command="fit-vote")
    assert "double fault" in text
    assert "by what the crowd saw" in text.replace("\n", " ")


def test_without_votes_the_vote_is_fitted_by_the_label(ferry: Evaluate, data: Path) -> None:
    assert ferry(data, "--json", command="fit-vote")["truth"] == "fer2013"
    assert "by their labels" in ferry(data, command="fit-vote").replace("\n", " ")


def run_without(packages: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys\nfor name in {packages!r}: sys.modules[name] = None\n"
        f"from cli.models import app\napp({list(arguments)!r})"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)


def test_no_package_of_the_toolchain_is_needed(models: Path, voted: Path) -> None:
    done = run_without(TOOLCHAIN, "evaluate", "--data", str(voted), "--models-dir", str(models), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["n"] == 3


@pytest.mark.parametrize("command", ["evaluate", "fit-vote"])
def test_the_message_names_the_extra_that_is_missing(voted: Path, command: str) -> None:
    done = run_without(("pyarrow",), command, "--data", str(voted))
    assert done.returncode == 1
    assert "pip install 'ferry[evaluate]'" in done.stderr
