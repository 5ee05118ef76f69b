"""Frees an exported YOLO from the one input size it was traced with: its anchors are computed from the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
"""Pixels between the anchors of YOLOv8's and YOLO11's three levels."""
STEP = STRIDES[-1]
"""Sides have to be multiples of it, in pixels."""
PREFIX = "sides/"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Names of the axes that are free."""


class BakedError(ValueError):
    """The graph's anchors are not where they are looked for."""


def free_sides(model: Any, width: int, height: int) -> None:
    """Makes height and width of the input free, any multiples of STEP. In place; weights stay as they are.

    Args:
        model: onnx.ModelProto with input [N, 3, height, width] and output [N, 4 + classes, anchors], as Ultralytics
            exports it: anchors and strides are constants.
        width, height: of the input that it was traced with, pixels.

    Raises:
        BakedError: it has no constants that are the anchors or the strides of that input.
    """
    graph = model.graph
    _store_constants(graph)
    points, strides = anchors(width, height)
    found = {"points": _equal_to(graph, points), "strides": _equal_to(graph, strides)}
    for what, tensors in found.items():
        if not tensors:
            raise BakedError(f"the graph has no constant that holds the {what} of {width} x {height} pixels")
    nodes = _Nodes()
    nodes.anchors(graph.input[0].name)
    renamed = {}
    for what, tensors in found.items():
        for tensor in tensors:
            shape = nodes.constant([*tensor.dims[:-1], -1])
            renamed[tensor.name] = nodes.add("Reshape", [f"{PREFIX}{what}", shape])
            graph.initializer.remove(tensor)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes.nodes, *own])
    graph.initializer.extend(nodes.tensors)
    _free_axes(graph)


def anchors(width: int, height: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Centres of the anchors in units of their strides, float32 [2, A], x then y, and the strides, float32 [A]."""
    points, strides = [], []
    for stride in STRIDES:
        x, y = (np.arange(side // stride, dtype=np.float32) + 0.5 for side in (width, height))
        points.append(np.stack([np.tile(x, len(y)), np.repeat(y, len(x))]))
        strides.append(np.full(len(x) * len(y), stride, np.float32))
    return np.concatenate(points, axis=1), np.concatenate(strides)


def _store_constants(graph: Any) -> None:
    """Stores as weights what the exporter by tracing writes as nodes."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        (value,) = node.attribute
        if value.name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
            graph.node.remove(node)


def _equal_to(graph: Any, values: npt.NDArray[np.float32]) -> list[Any]:
    sizes = (tensor for tensor in graph.initializer if np.prod(tensor.dims, dtype=np.int64) == values.size)
    return [
        tensor
        for tensor in sizes
        if tensor.dims
        and tensor.dims[-1] == values.shape[-1]
        and np.array_equal(numpy_helper.to_array(tensor).reshape(values.shape).astype(np.float32), values)
    ]


def _free_axes(graph: Any) -> None:
    sides = graph.input[0].type.tensor_type.shape.dim[2:]
    for axis, name in zip(sides, (HEIGHT, WIDTH), strict=True):
        axis.ClearField("dim_value")
        axis.dim_param = name
    last = graph.output[0].type.tensor_type.shape.dim[2]
    last.ClearField("dim_value")
    last.dim_param = "anchors"
    del graph.value_info[:]


class _Nodes:
    """The nodes that compute the anchors, and their constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self._constants: dict[str, str] = {}

    def constant(self, value: object, kind: int = TensorProto.INT64) -> str:
        """The name of a constant, one for all who ask for the same."""
        dtype = np.float32 if kind == TensorProto.FLOAT else np.int64
        array = np.asarray(value, dtype)
        key = f"{dtype.__name__}{array.tolist()}"
        if key not in self._constants:
            self._constants[key] = f"{PREFIX}constant_{len(self._constants)}"
            self.tensors.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        """A node with one output, whose name comes back."""
        name = output or f"{PREFIX}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def anchors(self, images: str) -> None:
        """Makes `points`, [2, A], and `strides`, [1, A], of the last two axes of `images`."""
        half, one = (self.constant(value, TensorProto.FLOAT) for value in (0.5, 1.0))
        shape = self.add("Shape", [images], start=2, end=4)
        row, column = self.constant([1, -1]), self.constant([-1, 1])
        points, strides = [], []
        for stride in STRIDES:
            cells = self.add("Div", [shape, self.constant([stride, stride])])
            ends = self.add("Cast", [cells], to=TensorProto.FLOAT)
            rows, columns = (self.add("Gather", [ends, self.constant(axis)], axis=0) for axis in (0, 1))
            y, x = (self.add("Range", [half, end, one]) for end in (rows, columns))
            grids = [
                self.add("Expand", [self.add("Reshape", [side, as_]), cells]) for side, as_ in ((x, row), (y, column))
            ]
            flat = [self.add("Reshape", [grid, row]) for grid in grids]
            points.append(self.add("Concat", flat, axis=0))
            many = self.add("Shape", [flat[0]])
            strides.append(self.add("Expand", [self.constant([[stride]], TensorProto.FLOAT), many]))
        self.add("Concat", points, f"{PREFIX}points", axis=1)
        self.add("Concat", strides, f"{PREFIX}strides", axis=1)
