"""What quantization sees of a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelkit.graphs.half_weights import store_as_float, store_as_half
from modelkit.quantize.graph import blocks, layers, prepare_graph, tail
from serving.models.backends import load_backend
from tests.modelkit.quantize.models import classifier, detector
from tests.tiny_models import classifier_graph

pytestmark = pytest.mark.toolchain


def written(path: Path, graph: bytes) -> Path:
    path.write_bytes(graph)
    return path


def test_half_weights_become_float_again_without_another_answer(tmp_path: Path) -> None:
    source = written(tmp_path / "model.onnx", classifier(2))
    model = onnx.load(source)
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
    store_as_float(model)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}
    assert "Cast" not in {node.op_type for node in model.graph.node}
    onnx.save(model, tmp_path / "float.onnx")
    rows = np.random.default_rng(0).random((2, 1, 48, 48), np.float32)
    answers = [load_backend(path).run(rows)["logits"] for path in (source, tmp_path / "float.onnx")]
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_only_the_named_weights_are_stored_as_half() -> None:
    model = onnx.load_from_string(classifier(2))
    store_as_float(model)
    store_as_half(model, only={"w1"})
    assert [t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16] == ["w1_half"]


def test_layers_are_found_in_order_and_the_tail_behind_them(tmp_path: Path) -> None:
    model = prepare_graph(written(tmp_path / "model.onnx", classifier(3)), tmp_path / "prepared.onnx")
    assert [layer.name for layer in layers(model)] == ["conv0", "conv1", "conv2", "linear"]
    assert tail(model) == []
    model = prepare_graph(written(tmp_path / "model.onnx", detector()), tmp_path / "prepared.onnx")
    assert [layer.name for layer in layers(model)] == ["conv"]
    assert {"score", "box"} <= set(tail(model))
    assert "conv" not in tail(model)


def test_neighbours_share_a_block_where_there_are_many(tmp_path: Path) -> None:
    found = layers(prepare_graph(written(tmp_path / "model.onnx", classifier(4)), tmp_path / "prepared.onnx"))
    assert blocks(found, 9) == [("conv0",), ("conv1",), ("conv2",), ("conv3",), ("linear",)]
    assert blocks(found, 2) == [("conv0", "conv1", "conv2"), ("conv3", "linear")]


def test_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no Conv, Gemm, MatMul"):
        prepare_graph(written(tmp_path / "model.onnx", classifier_graph()), tmp_path / "prepared.onnx")
