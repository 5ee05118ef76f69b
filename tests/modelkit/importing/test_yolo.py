"""Ultralytics checkpoints, as Ultralytics itself saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cli.models import app
from modelkit.shims.ultralytics import install
from serving.expressions import Expression
from serving.models.backends import load_backend
from serving.preprocess import normalise
from serving.repository.repository import ModelRepository, StoredModel

pytestmark = pytest.mark.toolchain

SIDE = 64


def saved(path: Path, architecture: str, names: list[str], *, half: bool = False) -> Any:
    """Saves a fresh network the way a training run does; returns it."""
    install()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    network = DetectionModel(f"{architecture}.yaml", nc=len(names), verbose=False).eval()
    network.names = dict(enumerate(names))
    content = {"model": network.half() if half else network, "train_args": {"imgsz": SIDE}, "epoch": 9, "ema": None}
    torch.save(content, path)
    return network.float()


def imported(tmp_path: Path, *options: str) -> StoredModel:
    arguments = ["import", "detector", str(tmp_path / "best.pt"), "--models-dir", str(tmp_path / "m"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "never run: " in result.output
    return ModelRepository(tmp_path / "m").open("detector", "latest")


@pytest.mark.parametrize(("architecture", "half"), [("yolo11n", False), ("yolov8n", True)])
def test_the_published_file_answers_as_the_checkpoint(tmp_path: Path, architecture: str, half: bool) -> None:
    names = ["Anger", "Contempt", "Happy", "Surprise"]
    network = saved(tmp_path / "best.pt", architecture, names, half=half)
    model = imported(tmp_path, "--without", "disgust,fear", "--without", "Neutral, sad")
    manifest = model.manifest
    assert (manifest.architecture, manifest.input.width) == (architecture, SIDE)
    assert {label.name: label.expression for label in manifest.labels} == {
        "Anger": Expression.ANGRY,
        "Contempt": None,
        "Happy": Expression.HAPPY,
        "Surprise": Expression.SURPRISED,
    }
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(normalise(pixels, manifest.input)))[0].numpy()
    actual = load_backend(model.file()).run(pixels)["output0"]
    assert np.abs(actual[:, 4:] - expected[:, 4:]).max() < 1e-3


def test_a_face_model_of_one_class_has_no_opinion(tmp_path: Path) -> None:
    saved(tmp_path / "best.pt", "yolo11n", ["face"])
    manifest = imported(tmp_path, "--score-threshold", "0.4").manifest
    assert not manifest.has_expressions
    assert "no opinion on expression" in manifest.description
    assert manifest.detection is not None
    assert manifest.detection.score_threshold == 0.4


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["person", "bicycle", "car", "cat"], "no class of this detector is a face or an expression: person, bicycle"),
        (["face", "car"], "'car': --map 'car=EXPRESSION'. Or --map CLASS=face"),
        (["Anger", "Suprise"], "'Suprise': did you mean surprised? --map 'Suprise=surprised'"),
        (["Anger", "Surprise"], "no class means disgust, fear, happy, neutral, sad"),
    ],
)
def test_what_a_detector_finds_is_not_guessed(tmp_path: Path, names: list[str], says: str) -> None:
    saved(tmp_path / "best.pt", "yolo11n", names)
    result = CliRunner().invoke(
        app, ["import", "detector", str(tmp_path / "best.pt"), "--models-dir", str(tmp_path / "m")]
    )
    assert result.exit_code == 1
    assert says in result.output
    assert not (tmp_path / "m").exists()


def test_a_class_that_is_a_face_after_all(tmp_path: Path) -> None:
    saved(tmp_path / "best.pt", "yolo11n", ["visage"])
    assert not imported(tmp_path, "--map", "visage=face").manifest.has_expressions


def test_the_wrong_number_of_labels_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "best.pt", "yolo11n", ["face"])
    arguments = [
        "import",
        "detector",
        str(tmp_path / "best.pt"),
        "--labels",
        "a,b",
        "--models-dir",
        str(tmp_path / "m"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "1 classes" in result.output
