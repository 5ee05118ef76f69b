"""A trained run becomes a version that the serving code loads and asks."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelkit.detector import dataset
from modelkit.detector.pseudo_labels import write_pseudo_labels
from modelkit.detector.train import STARTS, Settings, train_detector
from modelkit.judging.detection import detector_probabilities, evaluate_detector
from modelkit.publishing.publish import PublishError
from modelkit.releases import detector
from modelkit.releases.detector import export_run, publish_run
from serving.expressions import EXPRESSIONS
from serving.repository.repository import ModelRepository

pytestmark = [pytest.mark.toolchain, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SIDE = 96


def _png(pixels: np.ndarray) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for folder in ("faces", "fer2013"):
        (root / folder).mkdir(parents=True)
    for split in ("train", "validation"):
        photos = [_png(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)) for _ in range(3)]
        boxes = [[[10.0, 10.0, 40.0, 50.0]], [[30.0, 20.0, 70.0, 70.0]], []]
        columns = {"name": list("abc"), "image": photos, "boxes_xyxy": boxes}
        pq.write_table(pa.table(columns), root / "faces" / f"{split}.parquet")
    for split, count in (("train", 40), ("public_test", 7)):
        crops = [_png(rng.integers(0, 256, (48, 48), dtype=np.uint8)) for _ in range(count)]
        columns = {
            "split": [split] * count,
            "name": [f"{split}{i}" for i in range(count)],
            "label": [i % 7 for i in range(count)],
            "image": crops,
        }
        pq.write_table(pa.table(columns), root / "fer2013" / f"{split}.parquet")
    return root


def test_from_data_to_a_published_version(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "BATCHES", ((64, 2),))
    run, models = tmp_path / "work" / "detector", tmp_path / "models"
    for steps in (1, 2):
        train_detector(data, run, tmp_path / "work", Settings(steps=steps, warmup=1, checkpoint_every=1))
    assert [start["step"] for start in json.loads((run / STARTS).read_text())] == [0, 1]

    with pytest.raises(PublishError, match="holds no export that was checked"):
        publish_run(run, data, models)
    parity = export_run(run, data, SIDE)
    assert (parity.pictures, parity.max_difference <= 1e-3) == (3, True)
    with pytest.raises(PublishError, match="its gate is"):
        publish_run(run, data, models, side=SIDE)
    assert ModelRepository(models).names() == []

    directory = publish_run(run, data, models, side=SIDE, below_gate=True)
    stored = ModelRepository(models).open("detector", "1")
    assert stored.directory == directory
    assert stored.manifest.license == "AGPL-3.0"
    assert {"model.onnx", "curves.png", "record.json"} == set(stored.manifest.files)
    assert stored.manifest.training["steps"] == 2
    assert stored.manifest.training["parity"] == parity.record()
    assert stored.manifest.training["sources"]["faces"] == 2
    record = json.loads((directory / "record.json").read_text())
    assert [start["step"] for start in record["starts"]] == [0, 1]
    assert [point["step"] for point in record["history"]] == [1, 2]

    figures = evaluate_detector(directory, data / "faces" / "validation.parquet")
    assert (figures["model"], figures["version"], figures["n"], figures["n_faces"]) == ("detector", "1", 3, 2)
    assert 0 <= figures["recall"] <= 1
    answers = detector_probabilities(directory, np.zeros((5, 48, 48), np.uint8))
    assert answers.shape == (5, len(EXPRESSIONS))


def test_an_export_that_was_killed_while_it_was_checked_is_not_published(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "BATCHES", ((64, 2),))
    run, models = tmp_path / "work" / "detector", tmp_path / "models"
    train_detector(data, run, tmp_path / "work", Settings(steps=1, warmup=1, checkpoint_every=1))
    export_run(run, data, SIDE)

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(detector, "check_detector", killed)
        with pytest.raises(KeyboardInterrupt):
            export_run(run, data, SIDE)
    with pytest.raises(PublishError, match="holds no export that was checked"):
        publish_run(run, data, models, side=SIDE, below_gate=True)
    export_run(run, data, SIDE)
    publish_run(run, data, models, side=SIDE, below_gate=True)
    assert ModelRepository(models).versions("detector") == ["1"]


def test_a_run_that_never_trained_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="ferry models train detector"):
        export_run(tmp_path, tmp_path)


def test_pseudo_labels_need_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one classifier"):
        write_pseudo_labels([], [], tmp_path / "table.npz")
