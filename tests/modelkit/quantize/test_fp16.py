"""`ferry models quantize --method fp16`: a file for GPUs, which CPUs can run too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelkit.publishing.promotion import promote
from modelkit.quantize.graph import coverage, layers, prepare_graph
from modelkit.quantize.half import HalfConverter
from modelkit.quantize.search import Method, Settings, search
from serving.models import tuning
from serving.models.backends import BACKENDS, load_backend
from serving.models.backends.base import Backend
from serving.repository.repository import ModelRepository
from tests.modelkit.quantize.models import Ferry, classifier, publish_classifier

pytestmark = pytest.mark.toolchain


def test_arithmetic_is_float16_and_what_goes_in_and_out_is_float32(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(classifier(2))
    model = prepare_graph(tmp_path / "model.onnx", tmp_path / "prepared.onnx")
    HalfConverter(tmp_path / "prepared.onnx").write(tmp_path / "half.onnx", keep_float=["conv1"])
    half = onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(half)
    kinds = {each.name: each.data_type for each in half.graph.initializer}
    assert (kinds["w0"], kinds["look"], kinds["w1"]) == (TensorProto.FLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT)
    assert {each.type.tensor_type.elem_type for each in (*half.graph.input, *half.graph.output)} == {TensorProto.FLOAT}
    covered = coverage(half, layers(model))
    assert (covered.layers, covered.of_layers) == (2, 3)
    rows = np.random.default_rng(0).standard_normal((3, 1, 48, 48), np.float32)
    exact = load_backend(tmp_path / "model.onnx").run(rows)["logits"]
    for backend in BACKENDS:
        answer = load_backend(tmp_path / "half.onnx", backend=backend, precision="fp16").run(rows)["logits"]
        assert answer.dtype == np.float32
        assert np.abs(answer - exact).max() < 0.01 * np.abs(exact).max()


def test_the_file_is_published_for_the_backends_it_was_judged_on(ferry: Ferry, models: Path) -> None:
    source = publish_classifier(models, classifier(2))
    output = ferry("quantize", "tiny", "--method", "fp16").replace("\n", " ")
    assert "fp16 covers 3 of 3 layers (Conv, MatMul), 100.0% of the weights" in output
    assert "here the file saves size, not time" in output
    stored = ModelRepository(models).open("tiny", "2")
    assert stored.manifest.variants == {"default": "model.onnx", "fp16": "model.fp16.onnx"}
    assert stored.file().read_bytes() == source.file().read_bytes()
    record = stored.manifest.evaluation["variants"]["fp16"]
    assert (record["method"], record["source_version"]) == ("fp16", "1")
    # Nobody has seen it on a GPU, so it does not run on one.
    assert stored.manifest.variant_backends == {"fp16": BACKENDS}
    offered = tuning.candidates(1, (1,), reduced=True, manifest=stored.manifest)
    assert {c.backend for c in offered if c.variant == "fp16"} == set(BACKENDS)

    report = json.loads(ferry("quantize", "tiny", "--method", "fp16", "--dry-run", "--json"))
    assert report["bytes"]["fp16"] < 0.6 * report["bytes"]["float32"]
    assert report["published"] is None


@pytest.mark.slow
def test_it_stands_beside_an_int8_variant(ferry: Ferry, models: Path) -> None:
    publish_classifier(models, classifier(1))
    ferry("quantize", "tiny", "--gate", "0.2")
    promote(models, "tiny", "2")
    ferry("quantize", "tiny", "--method", "fp16")
    stored = ModelRepository(models).open("tiny", "3")
    assert set(stored.manifest.variants) == {"default", "int8", "fp16"}
    assert set(stored.manifest.variant_backends) == {"int8", "fp16"}
    assert set(stored.manifest.evaluation["variants"]) == {"int8", "fp16"}


class _Judge:
    """Finds that anything but float32 has lost ten points."""

    def calibration(self) -> list[np.ndarray]:  # type: ignore[type-arg]
        return [np.random.default_rng(1).standard_normal((2, 1, 48, 48), np.float32)]

    def scores(self, outputs: dict[str, np.ndarray]) -> np.ndarray:  # type: ignore[type-arg]
        return outputs["logits"]

    def held_back(self, backend: Backend) -> dict[str, float]:
        return {"accuracy": 0.9 if backend.precision == "fp32" else 0.8}

    reported = held_back


def test_what_loses_more_than_its_gate_does_not_pass_and_the_layers_are_named(tmp_path: Path) -> None:
    stored = publish_classifier(tmp_path / "models", classifier(3))
    result = search(stored, _Judge(), tmp_path, Settings(Method.FP16, gate=0.01))  # type: ignore[arg-type]
    assert result.passed == ()
    assert [attempt.blocks_in_float for attempt in result.attempts] == [0, 1, 2]
    assert result.attempts[-1].coverage.layers == 2
    assert {name for cost in result.costs for name in cost.layers} == {"conv0", "conv1", "conv2", "linear"}
