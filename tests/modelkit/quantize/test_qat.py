"""Quantization-aware fine-tuning wins back what rounding costs; the network that learns is the one in the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from modelkit.architectures import Symmetric, build
from modelkit.data import DataError
from modelkit.export import export
from modelkit.quantize.convert import Activations, Calibration, StaticQuantizer
from modelkit.quantize.graph import prepare_graph
from modelkit.quantize.network import GraphNetwork
from modelkit.quantize.places import Rounding, find_places
from modelkit.quantize.qat import fine_tune
from serving.backends import load_backend
from serving.preprocess import prepare
from tests.modelkit.pictures import crops
from tests.modelkit.quantize.models import classifier, publish_classifier
from tests.modelkit.recipe import TINY

pytestmark = pytest.mark.toolchain

SIZE = 48
HARD = 1000.0
"""A channel of this size leaves the picture so few of the 256 steps that static quantization recognises nothing."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slower than one where other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(count: int) -> torch.Tensor:
    return torch.randn(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("architecture", ["iresnet", "timm:mobilenetv3_small_050"])
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
