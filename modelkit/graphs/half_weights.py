"""Weights stored as float16 while computing stays float32, and back again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

MIN_STORED_AS_HALF = 64
"""Tensors with fewer numbers stay float32: they weigh nothing and some of them are grid constants."""

LEAST_HALF = 1 << 19
"""A classifier's weights of fewer numbers stay float32. Rounding them costs most of the accuracy and saves little:
first layers and depthwise kernels move a probability of EfficientNet-B3 by 0.0026, all others by 0.0004; a MobileNet
that rounds from 32,768 numbers on is off by 0.0016, from 262,144 on by 0.0013, from here on by 0.0003. A recipe may say
otherwise."""


def store_as_half(model: Any, only: Collection[str] | None = None, least: int = MIN_STORED_AS_HALF) -> None:
    """Stores float32 weights as float16, each followed by a Cast that runtimes fold when they load the model.

    Half the file, and computing stays float32. Weights too large for float16 are left alone. In place.

    Args:
        model: an onnx.ModelProto.
        only: names of the weights to store so; all by default.
        least: tensors with fewer numbers stay float32.
    """
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < least:
            continue
        if only is not None and tensor.name not in only:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            continue
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(half, name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], name=f"{name}_to_float", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def store_as_float(model: Any) -> None:
    """Turns float16 weights that a Cast widens back into float32 weights without the Cast. In place."""
    graph = model.graph
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    casts = [
        node
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in halves and node.attribute[0].i == TensorProto.FLOAT
    ]
    for cast in casts:
        values = numpy_helper.to_array(halves[cast.input[0]]).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, cast.output[0]))
        graph.node.remove(cast)
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for name, tensor in halves.items():
        if name not in used:
            graph.initializer.remove(tensor)
