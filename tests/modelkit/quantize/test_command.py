"""`ferry models quantize` and `optimize` on small models and made-up faces."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelkit.judging.floor import FLOOR
from serving.models import tuning
from serving.models.backends import load_backend
from serving.preprocess import prepare
from serving.repository.repository import ModelRepository
from tests.full_disk import full_disk
from tests.modelkit.pictures import crops, write_crops
from tests.modelkit.quantize.models import Ferry, classifier, detector, publish_classifier, publish_detector
from tests.tiny_models import FACE, classifier_graph

pytestmark = pytest.mark.toolchain

POISON = 1e5


def test_a_good_int8_file_becomes_a_new_version(ferry: Ferry, models: Path) -> None:
    source = publish_classifier(models, classifier(2))
    before = {path.name: path.read_bytes() for path in source.directory.iterdir()}
    assert "published" in ferry("quantize", "tiny")
    assert {path.name: path.read_bytes() for path in source.directory.iterdir()} == before

    stored = ModelRepository(models).open("tiny", "2")
    assert stored.manifest.variants == {"default": "model.onnx", "int8": "model.int8.onnx"}
    assert set(stored.manifest.files) == {"model.onnx", "model.int8.onnx", "optimization.json", "optimization.png"}
    assert stored.file().read_bytes() == source.file().read_bytes()
    assert stored.manifest.variant_backends == {"int8": ("onnxruntime", "openvino")}
    assert stored.file("int8").stat().st_size < 0.75 * stored.file().stat().st_size
    record = stored.manifest.evaluation["variants"]["int8"]
    assert record["source_version"] == "1"
    assert record["backends"]["onnxruntime"]["loss"] <= record["gate"]

    rows = prepare(np.repeat(crops(2, seed=9)[0][..., None], 3, axis=3), stored.manifest.input)
    exact = load_backend(stored.file()).run(rows)["logits"]
    for backend in ("onnxruntime", "openvino"):
        answer = load_backend(stored.file("int8"), backend=backend, precision="int8").run(rows)["logits"]
        assert 0 < np.abs(answer - exact).max() < 0.1 * np.abs(exact).max()
    offered = tuning.candidates(1, (1,), reduced=True, manifest=stored.manifest)
    assert {c.backend for c in offered if c.variant == "int8"} == {"onnxruntime", "openvino"}


@pytest.mark.slow
def test_two_runs_give_the_same_file(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1))
    for _ in range(2):
        ferry("quantize", "tiny", "--version", "1", "--calibration", "entropy", "--samples", "40")
    one, other = (ModelRepository(models).open("tiny", version).manifest.files for version in "23")
    assert one["model.int8.onnx"] == other["model.int8.onnx"]


def test_what_fails_the_gate_is_not_published_and_the_layers_are_named(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1, POISON))
    output = ferry("quantize", "tiny", "--calibration", "minmax", fails=True)
    assert "more than its gate of 0.01; nothing is published" in output.replace("\n", " ")
    assert "The layers that change the answers most: " in output.replace("\n", " ")
    assert "conv0" in output
    assert ModelRepository(models).versions("tiny") == ["1"]


@pytest.mark.slow
def test_layers_that_cost_too_much_stay_in_float(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(5, POISON))
    report = json.loads(ferry("quantize", "tiny", "--calibration", "minmax", "--json"))
    first, *_, last = report["attempts"]
    assert first["loss"] > 0.1
    assert last["loss"] <= 0.01
    assert {report["costs"][0]["layers"][0], report["costs"][1]["layers"][0]} == {"conv4", "linear"}
    assert last["blocks_in_float"] == 2
    assert (last["coverage"]["layers"], last["coverage"]["of_layers"]) == (4, 6)
    assert report["published"].endswith("tiny/2")
    assert ModelRepository(models).versions("tiny") == ["1", "2"]

    report = json.loads(
        ferry("quantize", "tiny", "--version", "1", "--calibration", "minmax", "--json", "--dry-run",
              "--keep-float", "conv4", "--keep-float", "linear")
    )  # fmt: skip
    assert [attempt["blocks_in_float"] for attempt in report["attempts"]] == [0]
    assert report["attempts"][0]["coverage"]["layers"] == 4


def test_a_dry_run_publishes_nothing(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1))
    report = json.loads(ferry("quantize", "tiny", "--dry-run", "--json", "--calibration", "percentile"))
    assert report["published"] is None
    assert ModelRepository(models).versions("tiny") == ["1"]


def test_a_gate_of_zero_lets_an_equal_model_pass(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1))
    report = json.loads(ferry("quantize", "tiny", "--gate", "0", "--json"))
    assert all(judged["passed"] == (judged["loss"] <= 0) for judged in report["backends"].values())
    assert report["published"]


def test_dynamic_says_what_it_covers(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(3))
    report = json.loads(ferry("quantize", "tiny", "--method", "dynamic", "--json"))
    covered = report["attempts"][0]["coverage"]
    assert (covered["layers"], covered["of_layers"], covered["ops"]) == (1, 4, ["MatMul"])
    assert report["coverage"].startswith("1 of 4 layers (MatMul), 9")


def test_what_cannot_be_quantized_is_explained(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1))
    assert "there is no node 'teapot'" in ferry("quantize", "tiny", "--keep-float", "teapot", fails=True)
    assert "there is no model 'nobody'" in ferry("quantize", "nobody", fails=True)
    (models / "tiny" / "1" / "model.onnx").write_bytes(b"garbage")
    assert "is not what its manifest says" in ferry("quantize", "tiny", fails=True).replace("\n", " ")
    assert ModelRepository(models).versions("tiny") == ["1"]


@pytest.mark.parametrize("method", ["static", "fp16"])
def test_on_a_full_disk_one_line_says_where_to_make_room(ferry: Ferry, models: Path, method: str) -> None:
    publish_classifier(models, classifier(1))
    with full_disk(1000):
        output = ferry("quantize", "tiny", "--method", method, fails=True).replace("\n", " ")
    assert "no room on the disk" in output
    assert "nothing was published" in output
    assert {path.name for path in (models / "tiny").iterdir()} == {"1"}
    ferry("quantize", "tiny", "--method", method, "--gate", "0.5")
    assert ModelRepository(models).versions("tiny") == ["1", "2"]


def test_a_model_of_garbage_is_explained(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, b"garbage")
    output = ferry("quantize", "tiny", fails=True)
    assert "model.onnx" in output.replace("\n", "")


def test_calibration_needs_several_expressions(ferry: Ferry, models: Path, data: Path) -> None:
    publish_classifier(models, classifier(1))
    (data / "fer2013" / "train-1.parquet").unlink()
    images, _ = crops(10, seed=3)
    write_crops(data / "fer2013" / "train-0.parquet", images, np.full(len(images), 3))
    assert "show only 'happy' faces" in ferry("quantize", "tiny", fails=True).replace("\n", " ")
    write_crops(data / "fer2013" / "train-0.parquet", images[:0], np.empty(0, np.int64))
    assert "holds no images" in ferry("quantize", "tiny", fails=True)


def write_photos(folder: Path, faces: bool = True) -> None:
    """Bright photos with a face where the detector looks for it, and dark ones without."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for split in ("train", "validation"):
        encoded, boxes = [], []
        for i in range(32):
            low = 150 if i % 2 == 0 and faces else 0
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(low, low + 100, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
            encoded.append(buffer.getvalue())
            boxes.append([list(FACE)] if low else [])
        table = {
            "name": [str(i) for i in range(32)],
            "image": encoded,
            "boxes_xyxy": pa.array(boxes, pa.list_(pa.list_(pa.float32()))),
        }
        pq.write_table(pa.table(table), folder / f"{split}.parquet")


def test_a_detector_is_judged_by_the_faces_it_finds(ferry: Ferry, models: Path, data: Path) -> None:
    publish_detector(models, detector())
    write_photos(data / "faces")
    report = json.loads(ferry("quantize", "detector", "--samples", "8", "--json"))
    judged = report["backends"]["onnxruntime"]
    assert judged["before"] == judged["after"] == judged["reported_before"] == {"f1": 1.0}
    assert report["published"].endswith("detector/2")
    assert "covers MatMul and Gemm, not Conv" in ferry("quantize", "detector", "--method", "dynamic", fails=True)
    write_photos(data / "faces", faces=False)
    assert "to calibrate by shows a face" in ferry("quantize", "detector", fails=True)


def test_optimize_keeps_what_is_fastest_here(ferry: Ferry, models: Path, tmp_path: Path) -> None:
    publish_classifier(models, classifier(3))
    report = json.loads(ferry("optimize", "tiny", "--seconds", "0.01", "--out", str(tmp_path / "out"), "--json"))
    ways = {(way["backend"], way["precision"]): way for way in report["ways"]}
    assert {("onnxruntime", "fp32"), ("openvino", "fp32"), ("onnxruntime", "int8"), ("openvino", "int8")} <= set(ways)
    best = report["best"]
    assert best["run_ms"] == min(way["run_ms"] for way in ways.values() if way["passed"])
    written = json.loads((tmp_path / "out" / "optimization.json").read_text())
    assert written.items() <= report.items()
    assert (tmp_path / "out" / "optimization.png").read_bytes().startswith(b"\x89PNG")

    repository = ModelRepository(models)
    stored = repository.open("tiny", "latest")
    assert (stored.manifest.version == "2") == (best["precision"] == "int8")
    chosen = tuning.choose(stored, reduced=True)
    # Which one is a matter of a clock, which a tiny model and a busy machine leave to chance.
    assert ways[chosen.backend, chosen.precision]["passed"]
    assert tuning.choose(stored).precision == "fp32"


def test_chance_passes_no_gate(ferry: Ferry, models: Path) -> None:
    stored = publish_classifier(models, classifier(1))
    shown = stored.manifest.labels
    wrong = stored.manifest.model_copy(update={"labels": (*shown[1:], shown[0])})
    (stored.directory / "manifest.json").write_text(wrong.to_json())
    for command in ("quantize", "optimize"):
        output = ferry(command, "tiny", "--gate", "1", fails=True).replace("\n", " ")
        assert "tiny 1: accuracy 0." in output
        assert "is below 0.3, which is hardly better than chance" in output
    assert ModelRepository(models).versions("tiny") == ["1"]
    assert not any(m.passed for m in tuning.read(stored))


def test_what_chance_is_left_of_a_good_model_passes_no_gate(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1, POISON))
    output = ferry("quantize", "tiny", "--gate", "1", "--keep", "0", fails=True).replace("\n", " ")
    assert "which is hardly better than chance; nothing is published" in output
    assert ModelRepository(models).versions("tiny") == ["1"]


def test_where_int8_is_impossible_only_the_measurements_are_kept(
    ferry: Ferry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FLOOR, "accuracy", 0)  # the model that cannot become int8 is one at chance
    stored = publish_classifier(models, classifier_graph(side=48))
    output = ferry("optimize", "tiny", "--seconds", "0.01")
    assert "no int8: " in output
    assert "no new file is needed, so nothing is published; measurements kept in" in output.replace("\n", " ")
    assert ModelRepository(models).versions("tiny") == ["1"]
    assert any(m.passed is not None for m in tuning.read(stored))
    ferry("optimize", "tiny", "--seconds", "0.01", "--dry-run")


@pytest.mark.slow
def test_qat_publishes_as_static_does_what_static_would_not(ferry: Ferry, models: Path) -> None:
    source = publish_classifier(models, classifier(1, 1000.0))
    options = ["--method", "qat", "--steps", "40", "--samples", "64", "--json"]
    report = json.loads(ferry("quantize", "tiny", "--gate", "0.2", *options))
    static, tuned = report["attempts"][:2]
    assert static["loss"] > 0.5
    assert tuned["loss"] <= 0.2
    assert report["tuned"]["last_loss"] < report["tuned"]["first_loss"]
    stored = ModelRepository(models).open("tiny", "2")
    assert stored.file().read_bytes() == source.file().read_bytes()
    assert set(stored.manifest.variants) == {"default", "int8"}
    assert stored.manifest.evaluation["variants"]["int8"]["method"] == "qat"


def test_qat_is_judged_by_the_same_gate_and_made_for_classifiers(ferry: Ferry, models: Path, data: Path) -> None:
    publish_classifier(models, classifier(1, POISON))
    options = ["--method", "qat", "--steps", "1", "--samples", "16"]
    assert "more than its gate of 0; nothing" in ferry("quantize", "tiny", "--gate", "0", *options, fails=True).replace(
        "\n", " "
    )
    assert ModelRepository(models).versions("tiny") == ["1"]
    publish_detector(models, detector())
    write_photos(data / "faces")
    assert "made for classifiers" in ferry("quantize", "detector", *options, fails=True).replace("\n", " ")
