"""A graph that takes bytes answers as the one that takes floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from modelkit.graphs.take_bytes import take_bytes
from serving.models.backends import load_backend
from serving.preprocess import normalise
from serving.repository.manifest import Color, InputSpec
from tests.tiny_models import SIDE, bytes_graph, classifier_graph


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.25)])
def test_answers_stay(tmp_path: Path, backend: str, mean: float, std: float) -> None:
    graph = classifier_graph(side=SIDE)
    spec = InputSpec(name="images", width=SIDE, height=SIDE, color=Color.GREY, mean=(mean,), std=(std,))
    for name, content in (("floats", graph), ("bytes", bytes_graph(graph, spec.mean, spec.std))):
        (tmp_path / f"{name}.onnx").write_bytes(content)
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 1), np.uint8)
    wanted = load_backend(tmp_path / "floats.onnx", backend=backend).run(normalise(pixels, spec))["logits"]
    actual = load_backend(tmp_path / "bytes.onnx", backend=backend).run(pixels)["logits"]
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


def test_what_takes_bytes_already_is_refused() -> None:
    model = onnx.load_from_string(bytes_graph(classifier_graph(), (0,), (1,)))
    with pytest.raises(ValueError, match="float32 only"):
        take_bytes(model, (0,), (1,))
