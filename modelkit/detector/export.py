"""Turns a trained detector into `model.onnx`: one input, one output, any batch, weights stored as float16."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

INPUT = "images"
OUTPUT = "output0"
OPSET = 17
MIN_STORED_AS_HALF = 64
"""Tensors with fewer numbers stay float32: they weigh nothing and some of them are grid constants."""


def export(net: Any, path: Path, side: int) -> None:
    """Writes `net` as ONNX with input `images` [N, 3, side, side] and output `output0` [N, 4 + classes, anchors].

    Args:
        net: an `ultralytics` DetectionModel, in any mode; it is left as it was.
        path: the file to write.
        side: input side in pixels, a multiple of 32.

    Raises:
        ValueError: `side` is no multiple of 32.
    """
    if side % 32:
        raise ValueError(f"the input side must be a multiple of 32, not {side}")
    net = copy.deepcopy(net).float().cpu().eval().fuse(verbose=False)
    head = net.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", False
    example = torch.zeros(2, 3, side, side)
    with torch.inference_mode():
        net(example)
        torch.onnx.export(
            net,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    model = onnx.load(str(path))
    store_as_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def store_as_half(model: Any) -> None:
    """Stores float32 weights as float16, each followed by a Cast that runtimes fold when they load the model.

    Half the file, and computing stays float32. Weights too large for float16 are left alone. In place.
    """
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < MIN_STORED_AS_HALF:
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
