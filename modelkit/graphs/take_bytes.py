"""Puts the first steps of preprocessing into a graph: pixels go in as the bytes that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

PREFIX = "bytes/"


def take_bytes(model: Any, mean: Sequence[float], std: Sequence[float]) -> None:
    """Has a model take uint8 [N, H, W, C] in place of float32 [N, C, H, W], which it makes of that. In place.

    Args:
        model: onnx.ModelProto with one input, float32 [N, C, H, W]; its name stays.
        mean, std: per channel; values become (pixel / 255 - mean) / std.

    Raises:
        ValueError: the input is another one.
    """
    graph = model.graph
    if len(graph.input) != 1 or graph.input[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ValueError("bytes can be given to a model with one input of float32 only")
    tensor = graph.input[0].type.tensor_type
    if len(tensor.shape.dim) != 4:
        raise ValueError("bytes can be given to a model of [N, C, H, W] only")
    name, inner = graph.input[0].name, f"{PREFIX}{graph.input[0].name}"
    for node in graph.node:
        for i, wanted in enumerate(node.input):
            node.input[i] = inner if wanted == name else wanted
    deviation, centre = (np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (std, mean))
    factors = {"factor": 1 / (255 * deviation), "shift": centre / deviation}
    steps = [
        helper.make_node("Transpose", [name], [f"{PREFIX}planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{PREFIX}planes"], [f"{PREFIX}floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{PREFIX}floats", f"{PREFIX}factor"], [f"{PREFIX}scaled"]),
        helper.make_node("Sub", [f"{PREFIX}scaled", f"{PREFIX}shift"], [inner]),
    ]
    if not factors["shift"].any():
        steps.pop()
        steps[-1].output[0] = inner
        factors.pop("shift")
    for step in steps:
        step.name = f"{PREFIX}{step.op_type}"
    graph.initializer.extend(numpy_helper.from_array(value, f"{PREFIX}{key}") for key, value in factors.items())
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps, *own])
    tensor.elem_type = TensorProto.UINT8
    axes = [_copied(tensor.shape.dim[i]) for i in (0, 2, 3, 1)]
    del tensor.shape.dim[:]
    tensor.shape.dim.extend(axes)


def _copied(axis: Any) -> Any:
    copy = type(axis)()
    copy.CopyFrom(axis)
    return copy
