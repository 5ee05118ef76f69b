"""Makes an exported graph smaller without changing what it computes: constants folded, what does nothing removed."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

KEPT_APART = ["ConstantSharing", "MatMul_BatchNormalization_Fusion"]
"""Networks are filled from files by the names of their weights (see `modelkit.networks.published`)."""


def simplify(path: Path) -> None:
    """Rewrites a model in place with ONNX Runtime's basic rewrites, whose results are plain ONNX.

    What is left of the nodes stays in its order, by which networks are filled from files
    (`modelkit.networks.published`).

    Args:
        path: a model with float32 weights; stored as float16, their casts would be folded away.
    """
    model = onnx.load(path)
    _part(model)
    places = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    while True:
        found = _write_known_sides(model)
        model = _rewritten(model)
        if not found:  # a padding that was computed from one side hides the next layer's
            break
    nodes = _in_order(list(model.graph.node), places)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {node.domain for node in model.graph.node}
    imports = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx.save(model, path)


def _rewritten(model: Any) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        plain, smaller = Path(scratch) / "plain.onnx", Path(scratch) / "smaller.onnx"
        onnx.save(model, plain)
        options.optimized_model_filepath = str(smaller)
        ort.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"], disabled_optimizers=KEPT_APART)
        return onnx.load(smaller)


def _write_known_sides(model: Any) -> int:
    """Replaces each size that is computed from a tensor whose size is known; returns how many.

    Left alone, a free batch makes runtimes ask for every side anew: padding alone can take as many nodes as layers.
    """
    graph, inferred = model.graph, onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    makers = {name: node for node in graph.node for name in node.output}
    places = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name not in makers}
    found = 0
    for node in list(graph.node):
        asked = makers.get(node.input[0]) if node.op_type == "Gather" else None
        place = places.get(node.input[1]) if asked is not None else None
        if asked is None or asked.op_type != "Shape" or place is None or place.size != 1:
            continue
        if any(part.name == "end" or part.i for part in asked.attribute):  # of a part of the shape
            continue
        sides = shapes.get(asked.input[0], ())
        number = int(place.reshape(-1)[0])
        if not -len(sides) <= number < len(sides) or not sides[number].HasField("dim_value"):
            continue
        side = np.full(place.shape, sides[number].dim_value, np.int64)
        graph.initializer.append(numpy_helper.from_array(side, node.output[0]))
        graph.node.remove(node)
        found += 1
    return found


def _part(model: Any) -> None:
    """Gives equal weights, of which the exporter stores one, their own names again."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    shared = [node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in stored]
    for node in shared:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(stored[node.input[0]])
        tensor.name = node.output[0]
        model.graph.node.remove(node)


def _in_order(nodes: Sequence[Any], places: Mapping[str, int]) -> list[Any]:
    """Nodes after what they need, and else by the places that their results had before."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output}
    needs = [{makers[name] for name in node.input if name in makers} for node in nodes]
    needed_by: dict[int, list[int]] = {}
    for i, some in enumerate(needs):
        for maker in some:
            needed_by.setdefault(maker, []).append(i)
    place = [places.get(node.output[0], -1) for node in nodes]
    ready = [(place[i], i) for i, some in enumerate(needs) if not some]
    heapq.heapify(ready)
    order = []
    while ready:
        _, done = heapq.heappop(ready)
        order.append(nodes[done])
        for i in needed_by.get(done, ()):
            needs[i].discard(done)
            if not needs[i]:
                heapq.heappush(ready, (place[i], i))
    return order
