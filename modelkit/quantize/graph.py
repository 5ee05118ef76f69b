"""What a model's graph is made of, as far as quantization asks: its layers, its tail, and what became integers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnxruntime.quantization.shape_inference import quant_pre_process

from modelkit.graphs.half_weights import store_as_float

LAYER_OPS = ("Conv", "Gemm", "MatMul")
MIN_LAYER_WEIGHTS = 64
"""Fewer weights are no layer worth quantizing, such as the fixed filter that decodes a YOLO's boxes."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with weights: its name, its operator, the name of its weights and how many they are."""

    name: str
    op: str
    weights: str
    count: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a model is computed in integers or float16: layers and weights, of all there are."""

    layers: int
    of_layers: int
    weights: int
    of_weights: int
    ops: tuple[str, ...]

    def __str__(self) -> str:
        share = self.weights / max(self.of_weights, 1)
        kinds = ", ".join(self.ops) or "no operator"
        return f"{self.layers} of {self.of_layers} layers ({kinds}), {share:.1%} of the weights"


def prepare_graph(source: Path, target: Path) -> Any:
    """Writes the model as quantizers want it: float32 weights, every node named, shapes inferred, simplified.

    Returns:
        The onnx.ModelProto that was written.

    Raises:
        ValueError: it has no layers that could be quantized.
    """
    model = onnx.load(source, load_external_data=False)
    store_as_float(model)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.onnx"
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(target), skip_symbolic_shape=True)
    prepared = onnx.load(target)
    if not layers(prepared):
        raise ValueError(f"{source} has no {', '.join(LAYER_OPS)} with {MIN_LAYER_WEIGHTS} weights or more to quantize")
    return prepared


def layers(model: Any) -> list[Layer]:
    """Every layer with weights of its own, in the order they run."""
    sizes = {tensor.name: int(np.prod(tensor.dims, dtype=np.int64)) for tensor in model.graph.initializer}
    return [
        Layer(node.name, node.op_type, node.input[1], sizes[node.input[1]])
        for node in model.graph.node
        if node.op_type in LAYER_OPS and sizes.get(node.input[1], 0) >= MIN_LAYER_WEIGHTS
    ]


def tail(model: Any) -> list[str]:
    """Nodes between the last layers and the outputs: decoding and activation, where rounding costs most.

    Found from the outputs backwards, up to the first layer on each way.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    stops = {layer.name for layer in layers(model)}
    found: dict[str, None] = {}
    waiting = [output.name for output in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in stops or node.name in found:
            continue
        found[node.name] = None
        waiting += node.input
    return list(found)


def blocks(found: Sequence[Layer], limit: int) -> list[tuple[str, ...]]:
    """Names of the layers in at most `limit` runs of neighbours, all of about the same length."""
    parts = np.array_split(np.arange(len(found)), min(limit, len(found)))
    return [tuple(found[i].name for i in part) for part in parts if len(part)]


def coverage(quantized: Any, found: Sequence[Layer]) -> Coverage:
    """What of `found`, a model's layers in float32, is integer or float16 in the converted model."""
    kinds = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    integers = {TensorProto.INT8, TensorProto.UINT8}
    done = [
        layer
        for layer in found
        if kinds.get(f"{layer.weights}_quantized") in integers or kinds.get(layer.weights) == TensorProto.FLOAT16
    ]
    ops = tuple(sorted({layer.op for layer in done}))
    weights, of_weights = (sum(layer.count for layer in some) for some in (done, found))
    return Coverage(len(done), len(found), weights, of_weights, ops)
