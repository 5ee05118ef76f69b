"""Turns a trained detector into `model.onnx`: one input, one output, any batch, simplified, weights stored as float16.

`modelkit.judging.parity` compares what it answers with PyTorch.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx
import torch

from modelkit.publishing.half_weights import store_as_half
from modelkit.publishing.simplify import simplify

INPUT = "images"
OUTPUT = "output0"
OPSET = 20
MIN_STORED_AS_HALF = 16_384
"""Smaller tensors stay float32: a thirteenth of the weights, whose rounding would change scores most."""


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
    simplify(path)
    model = onnx.load(str(path))
    store_as_half(model, least=MIN_STORED_AS_HALF)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
