"""Turns a trained detector into `model.onnx`: bytes in, any batch, several shapes, weights stored as float16.

`modelkit.publishing.parity` compares what it answers with PyTorch.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import onnx
import torch

from modelkit.detector.free_sides import STEP, free_sides
from modelkit.graphs.half_weights import store_as_half
from modelkit.graphs.simplify import simplify
from modelkit.graphs.take_bytes import take_bytes
from modelkit.graphs.trace import trace_to_onnx
from serving.repository.manifest import Color, Encoding, InputSpec

INPUT = "images"
OUTPUT = "output0"
OPSET = 20
MIN_STORED_AS_HALF = 16_384
"""Smaller tensors stay float32: a thirteenth of the weights, whose rounding would change scores most."""
SHAPES = ((16, 9), (3, 2), (4, 3))
"""Proportions of pictures for which there is a frame of their own: those of cameras. Each more takes memory (7 MB with
OpenVINO) and time to warm up, and fewer pictures share a run."""


def export(net: Any, path: Path, side: int) -> None:
    """Writes `net` as ONNX with input `images` (`input_spec`) and output `output0` [N, 4 + classes, anchors].

    Args:
        net: an `ultralytics` DetectionModel, in any mode; it is left as it was.
        path: the file to write.
        side: input side in pixels, a multiple of 32.

    Raises:
        ValueError: `side` is no multiple of 32.
    """
    if side % STEP:
        raise ValueError(f"the input side must be a multiple of {STEP}, not {side}")
    net = copy.deepcopy(net).float().cpu().eval().fuse(verbose=False)
    head = net.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", False
    example = torch.zeros(2, 3, side, side)
    with torch.inference_mode():
        net(example)
        axes = {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: {0: "batch", 2: "anchors"}}
        trace_to_onnx(net, example, path, axes=axes, opset=OPSET)
    finish(path, input_spec(side))


def finish(path: Path, spec: InputSpec) -> None:
    """What is done to the graph as PyTorch or Ultralytics exports it, weights in float32. In place.

    Args:
        path: an ONNX file with input [N, 3, height, width], of float32, and output [N, 4 + classes, anchors].
        spec: its width and height, mean and deviation.

    Raises:
        BakedError: its anchors are not found.
    """
    model = onnx.load(str(path))
    free_sides(model, spec.width, spec.height)
    onnx.save(model, str(path))
    simplify(path)
    model = onnx.load(str(path))
    store_as_half(model, least=MIN_STORED_AS_HALF)
    take_bytes(model, spec.mean, spec.std)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def input_spec(side: int) -> InputSpec:
    """How photos become the input of a detector that is exported here; `side`: of the full frame, pixels."""
    return InputSpec(
        name=INPUT,
        width=side,
        height=side,
        color=Color.RGB,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        encoding=Encoding.BYTES,
        sides=shorter_sides(side),
    )


def shorter_sides(side: int) -> tuple[int, ...]:
    """Multiples of STEP below `side`, ascending: one for each of SHAPES."""
    found = {math.ceil(shorter * side / longer / STEP) * STEP for longer, shorter in SHAPES}
    return tuple(sorted(each for each in found if each < side))
