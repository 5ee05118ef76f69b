"""Makes an exported graph smaller without changing what it computes: constants folded, what does nothing removed."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

KEPT_APART = ["ConstantSharing", "MatMul_BatchNormalization_Fusion"]
"""Networks are filled from files by the names of their weights (see `modelkit.published`)."""


def simplify(path: Path) -> None:
    """Rewrites a model in place with ONNX Runtime's basic rewrites, whose results are plain ONNX.

    What is left of the nodes stays in its order, by which networks are filled from files (`modelkit.published`).

    Args:
        path: a model with float32 weights; stored as float16, their casts would be folded away.
    """
    model = onnx.load(path)
    _part(model)
    onnx.save(model, path)
    places = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as scratch:
        smaller = Path(scratch) / "model.onnx"
        options.optimized_model_filepath = str(smaller)
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=KEPT_APART)
        model = onnx.load(smaller)
    nodes = _in_order(list(model.graph.node), places)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {node.domain for node in model.graph.node}
    imports = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx.save(model, path)


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
