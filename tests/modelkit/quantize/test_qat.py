"""Quantization-aware fine-tuning wins back what rounding costs; the network that learns is the one in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from modelkit.data.expressions import DataError
from modelkit.networks.architectures import Symmetric, build
from modelkit.publishing.export import export
from modelkit.quantize import qat
from modelkit.quantize.convert import Activations, Calibration, StaticQuantizer
from modelkit.quantize.graph import prepare_graph
from modelkit.quantize.network import GraphNetwork
from modelkit.quantize.places import Rounding, find_places
from modelkit.quantize.progress import Progress
from modelkit.quantize.qat import fine_tune
from serving.models.backends import load_backend
from serving.models.tuning import probe
from serving.preprocess import prepare
from serving.repository.repository import ModelRepository
from tests.modelkit.pictures import crops
from tests.modelkit.quantize.models import classifier, publish_classifier
from tests.modelkit.recipe import TINY

pytestmark = [pytest.mark.toolchain, pytest.mark.usefixtures("one_thread")]

MODELS = Path(__file__).parents[3] / "models"
SIZE = 48
HARD = 1000.0
"""A channel of this size leaves the picture so few of the 256 steps that static quantization recognises nothing."""


def noise(count: int) -> torch.Tensor:
    return torch.randn(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    "architecture",
    [
        "iresnet",
        "face-mobilenet",
        *(
            pytest.param(f"timm:{name}", marks=pytest.mark.slow)
            for name in ("mobilenetv3_small_050", "tf_efficientnet_lite0", "resnet18")
        ),
    ],
)
def test_the_network_answers_as_the_published_file(tmp_path: Path, architecture: str, mirrored: bool) -> None:
    torch.manual_seed(0)
    network = build(architecture, 7, SIZE, TINY.options if architecture == "iresnet" else {})
    network.train()(noise(8))  # statistics of its own in every normalisation
    export(Symmetric(network) if mirrored else network, tmp_path / "model.onnx", SIZE)
    expected = load_backend(tmp_path / "model.onnx").run(noise(4).numpy())
    restored = GraphNetwork(prepare_graph(tmp_path / "model.onnx", tmp_path / "prepared.onnx"))
    with torch.inference_mode():
        actual = restored(noise(4))
    assert set(actual) == set(expected)
    for name, values in expected.items():
        assert np.abs(actual[name].numpy() - values).max() < 1e-3


@pytest.mark.parametrize("name", ["efficientnet", "arcface"])
def test_the_network_answers_as_ferrys_own_models(tmp_path: Path, name: str) -> None:
    stored = ModelRepository(MODELS).open(name, "stable")
    rows = probe(stored.manifest.input, 2)
    expected = load_backend(stored.file()).run(rows)
    restored = GraphNetwork(prepare_graph(stored.file(), tmp_path / "prepared.onnx"))
    with torch.inference_mode():
        actual = restored(torch.from_numpy(rows))
    for output, values in expected.items():
        assert np.abs(actual[output].numpy() - values).max() < 1e-3


@pytest.mark.parametrize("activations", Activations)
@pytest.mark.parametrize("seven_bits", [False, True])
def test_it_rounds_as_the_quantized_file_does(tmp_path: Path, activations: Activations, seven_bits: bool) -> None:
    (tmp_path / "model.onnx").write_bytes(classifier(2))
    model = prepare_graph(tmp_path / "model.onnx", tmp_path / "prepared.onnx")
    rows = noise(4).numpy()
    quantizer = StaticQuantizer(tmp_path / "prepared.onnx", Calibration.MINMAX, activations, seven_bits=seven_bits)
    quantizer.calibrate("images", iter([rows]))
    quantizer.write(tmp_path / "int8.onnx", keep_float=["conv1"])
    places = find_places(onnx.load(tmp_path / "int8.onnx"))
    assert set(places.weights) == {"w0", "look"}
    assert "images" in places.activations
    assert places.signed == (activations is Activations.INT8)
    rounding = Rounding(places, seven_bits=seven_bits)
    network = GraphNetwork(model)
    with torch.inference_mode():
        exact, rounded = network(noise(4))["logits"], network(noise(4), rounding)["logits"]
    file = _without_kernels(tmp_path / "int8.onnx", rows)
    assert np.abs(rounded.numpy() - file).max() < 0.2 * np.abs(exact.numpy() - file).max()
    for name, ends in rounding.ranges().items():
        assert ends == pytest.approx(places.activations[name], rel=1e-5, abs=1e-6)


def _without_kernels(path: Path, rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """The file's answers by definition, not by integer kernels, which some processors saturate."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    (answers,) = ort.InferenceSession(str(path), options).run(["logits"], {"images": rows})
    return np.asarray(answers)


def test_fine_tuning_wins_back_what_rounding_costs(tmp_path: Path) -> None:
    stored = publish_classifier(tmp_path / "models", classifier(1, HARD))
    images, _ = crops(20, seed=2)
    test_images, labels = crops(5, seed=1)
    rows = prepare(np.repeat(test_images[..., None], 3, axis=3), stored.manifest.input)
    calibration = prepare(np.repeat(images[:32, :, :, None], 3, axis=3), stored.manifest.input)
    prepare_graph(stored.file(), prepared := tmp_path / "prepared.onnx")
    quantizer = StaticQuantizer(prepared, Calibration.MINMAX, Activations.UINT8, seven_bits=True)
    quantizer.calibrate("images", iter([calibration]))

    def accuracy(target: Path) -> float:
        quantizer.write(target)
        answers = load_backend(target, precision="int8").run(rows)["logits"]
        return float((answers.argmax(axis=1) == labels).mean())

    before = accuracy(tmp_path / "static.onnx")
    tuned = fine_tune(prepared, quantizer, images, stored.manifest, steps=40, keep_float=[], seven_bits=True)
    after = accuracy(tmp_path / "tuned.onnx")
    exact = load_backend(stored.file()).run(rows)["logits"]
    assert float((exact.argmax(axis=1) == labels).mean()) == 1
    assert tuned.last_loss < tuned.first_loss
    assert before < 0.5
    assert after > 0.8


def tuned_file(folder: Path, steps: int, progress: Progress | None) -> bytes:
    folder.mkdir(exist_ok=True)
    stored = publish_classifier(folder / "models", classifier(1, HARD))
    images, _ = crops(10, seed=2)
    prepare_graph(stored.file(), prepared := folder / "prepared.onnx")
    quantizer = StaticQuantizer(prepared, Calibration.MINMAX, Activations.UINT8, seven_bits=True)
    quantizer.calibrate("images", iter([prepare(np.repeat(images[:8, :, :, None], 3, axis=3), stored.manifest.input)]))
    options = {"steps": steps, "keep_float": [], "seven_bits": True, "progress": progress}
    fine_tune(prepared, quantizer, images, stored.manifest, **options)  # type: ignore[arg-type]
    quantizer.write(target := folder / "tuned.onnx")
    return target.read_bytes()


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qat, "KEEP_EVERY", 2)
    whole = tuned_file(tmp_path / "whole", 6, None)
    steps, views = list[int](), qat._views

    def stopped_in_the_fifth(*arguments: Any) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return views(*arguments)

    progress = Progress.of(tmp_path / "kept", "tiny", "settings")
    monkeypatch.setattr(qat, "_views", stopped_in_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        tuned_file(tmp_path / "stopped", 6, progress)
    assert tuned_file(tmp_path / "resumed", 6, progress) == whole
    assert len(steps) == 5 + 2
    assert tuned_file(tmp_path / "done", 6, progress) == whole
    assert len(steps) == 5 + 2
    progress.forget()
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_progress_that_is_none_is_passed_over(tmp_path: Path, content: bytes | None) -> None:
    progress = Progress.of(tmp_path, "tiny", "settings")
    progress.write({"losses": [1.0]})
    assert progress.read() == {"losses": [1.0]}
    if content is None:
        assert Progress(progress.file, "of other settings").read() is None
        assert Progress.of(tmp_path, "tiny", "other settings").read() is None
        return
    progress.file.write_bytes(content)
    assert progress.read() is None


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    stored = publish_classifier(tmp_path / "models", classifier(1))
    prepare_graph(stored.file(), prepared := tmp_path / "prepared.onnx")
    quantizer = StaticQuantizer(prepared, Calibration.MINMAX, Activations.UINT8)
    with pytest.raises(DataError, match="needs 64 pictures of the training split or more, and there are 14"):
        fine_tune(prepared, quantizer, crops(2, seed=2)[0], stored.manifest, steps=1, keep_float=[], seven_bits=True)


def test_an_operator_that_is_not_known_is_named() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 7]) for name in ("images", "logits")]
    graph = helper.make_graph([helper.make_node("Mish", ["images"], ["logits"])], "t", values[:1], values[1:])
    with pytest.raises(ValueError, match="operator Mish"):
        GraphNetwork(helper.make_model(graph))
