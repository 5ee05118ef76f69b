"""An ONNX graph as a PyTorch module: the network that was exported, whatever it was, ready to learn on.

The graph is run node by node, so it answers as the file does, folded normalisations included, and what is learnt goes
back into the same file.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from modelkit.quantize.graph import LAYER_OPS

Attributes = Mapping[str, Any]
Change = Callable[[str, Tensor], Tensor]


class GraphNetwork(nn.Module):
    """Weights and biases of the graph's layers are parameters; everything else is as it was."""

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: onnx.ModelProto with float32 weights and one input, as `prepare_graph` gives it.

        Raises:
            ValueError: it has an operator that cannot be run here; the message names it.
        """
        super().__init__()
        graph = model.graph
        unknown = sorted({node.op_type for node in graph.node} - set(OPERATORS))
        if unknown:
            raise ValueError(f"the model cannot be trained on: operator {unknown[0]} of its graph is not known here")
        self.input = graph.input[0].name
        self.outputs = [output.name for output in graph.output]
        self._nodes = [_Node(node) for node in graph.node]
        stored = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
        learning = {
            name for node in graph.node if node.op_type in LAYER_OPS for name in node.input[1:] if name in stored
        }
        names = [name for name in stored if name in learning and stored[name].is_floating_point()]
        self._parameter_names = {name: f"p{i}" for i, name in enumerate(names)}
        for name, own in self._parameter_names.items():
            self.register_parameter(own, nn.Parameter(stored.pop(name)))
        # Shapes and indices are looked at by Python: they stay on the CPU when the network moves.
        self._indices = {name: value for name, value in stored.items() if not value.is_floating_point()}
        self._constant_names = {name: f"c{i}" for i, name in enumerate(stored) if name not in self._indices}
        for name, own in self._constant_names.items():
            self.register_buffer(own, stored[name])

    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters by their names in the graph."""
        return {name: self.get_parameter(own) for name, own in self._parameter_names.items()}

    def forward(self, images: Tensor, change: Change | None = None) -> dict[str, Tensor]:
        """Runs the graph.

        Args:
            images: float32 [N, C, H, W].
            change: from a tensor's name and the tensor to what takes its place; sees input, parameters and results.

        Returns:
            The outputs by name.
        """
        changed: Change = change or _unchanged
        values: dict[str, Tensor] = dict(self._indices)
        values |= {name: self.get_buffer(own) for name, own in self._constant_names.items()}
        values |= {name: changed(name, weight) for name, weight in self.weights().items()}
        values[self.input] = changed(self.input, images)
        for node in self._nodes:
            inputs = [values[name] if name else None for name in node.inputs]
            results = node.run(inputs)
            for name, result in zip(node.outputs, results, strict=False):
                values[name] = changed(name, result)
        return {name: values[name] for name in self.outputs}

    def write(self, model: Any) -> None:
        """Puts the weights back into the model that this was made of, in place."""
        weights = self.weights()
        for tensor in model.graph.initializer:
            if tensor.name in weights:
                values = weights[tensor.name].detach().cpu().numpy()
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def _unchanged(_: str, value: Tensor) -> Tensor:
    return value


class _Node:
    def __init__(self, node: Any) -> None:
        self.inputs, self.outputs = list(node.input), list(node.output)
        self._attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        self._operator = OPERATORS[node.op_type]

    def run(self, inputs: list[Tensor | None]) -> list[Tensor]:
        result = self._operator(self._attributes, *inputs)
        return list(result) if isinstance(result, tuple) else [result]


def _padded(x: Tensor, a: Attributes, dims: int, value: float = 0) -> Tensor:
    if a.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise ValueError("the model cannot be trained on: automatic padding is not known here")
    pads = list(a.get("pads", [0] * 2 * dims))
    sides = [side for i in reversed(range(dims)) for side in (pads[i], pads[i + dims])]
    return functional.pad(x, sides, value=value) if any(sides) else x


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    if a.get("mode", b"constant") != b"constant":
        raise ValueError("the model cannot be trained on: it pads with something else than a constant")
    amounts, dims = pads.tolist(), range(x.ndim) if axes is None else axes.tolist()
    sides = [0] * 2 * x.ndim  # PyTorch counts from the last dimension
    for i, axis in enumerate(dims):
        place = 2 * (x.ndim - 1 - axis % x.ndim)
        sides[place : place + 2] = amounts[i], amounts[i + len(dims)]
    return functional.pad(x, sides, value=0.0 if value is None else float(value))


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = weight.ndim - 2
    if dims != 2:
        raise ValueError("the model cannot be trained on: its convolutions are not over height and width")
    ones = [1] * dims
    pads = list(a.get("pads", [0] * 2 * dims))
    symmetric = pads[:dims] == pads[dims:] and a.get("auto_pad", b"NOTSET") in {b"NOTSET", b"VALID"}
    x, padding = (x, pads[:dims]) if symmetric else (_padded(x, a, dims), [0] * dims)
    return functional.conv2d(
        x, weight, bias, a.get("strides", ones), padding, a.get("dilations", ones), a.get("group", 1)
    )


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, weight = (x.T if a.get("transA") else x), (weight.T if a.get("transB") else weight)
    result = a.get("alpha", 1.0) * (x @ weight)
    return result if bias is None else result + a.get("beta", 1.0) * bias


def _batch_norm(a: Attributes, x: Tensor, *statistics: Tensor) -> Tensor:
    scale, bias, mean, variance = statistics
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def _pool(kind: Callable[..., Tensor], fill: float) -> Callable[..., Tensor]:
    def run(a: Attributes, x: Tensor) -> Tensor:
        if a.get("ceil_mode") or (kind is functional.avg_pool2d and any(a.get("pads", ()))):
            raise ValueError("the model cannot be trained on: a pooling of its graph is not known here")
        return kind(_padded(x, a, 2, fill), a["kernel_shape"], a.get("strides", [1, 1]))

    return run


def _reduce(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = axes.tolist() if axes is not None else a.get("axes", range(x.ndim))
        return of(x, tuple(chosen), bool(a.get("keepdims", 1)))

    return run


def _slice(_: Attributes, x: Tensor, starts: Tensor, ends: Tensor, *rest: Tensor | None) -> Tensor:
    axes = rest[0].tolist() if rest and rest[0] is not None else range(len(starts))
    steps = rest[1].tolist() if len(rest) > 1 and rest[1] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps, strict=True):
        index = range(*slice(start, end, step).indices(x.shape[axis]))
        x = x.index_select(axis, torch.tensor(list(index), dtype=torch.int64, device=x.device))
    return x


def _reshape(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape(tuple(x.shape[i] if side == 0 else side for i, side in enumerate(shape.tolist())))


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    return x.flatten(axis) if axis == 1 else x.reshape(int(np.prod(x.shape[:axis])), -1)


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    index = torch.where(index < 0, index + x.shape[axis], index)
    index = index.to(x.device)
    return x.index_select(axis, index.flatten()).reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _divide(_: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    low = low if low is not None else a.get("min")
    high = high if high is not None else a.get("max")
    return x if low is None and high is None else torch.clamp(x, low, high)


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    for axis in sorted(axes.tolist() if axes is not None else a["axes"]):
        x = x.unsqueeze(axis)
    return x


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen: Iterable[int] | None = axes.tolist() if axes is not None else a.get("axes")
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def _cast(a: Attributes, x: Tensor) -> Tensor:
    kind = onnx.helper.tensor_dtype_to_np_dtype(a["to"])
    return x.to(torch.from_numpy(np.zeros(1, kind)).dtype)


def _prelu(_: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _two(of: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    return lambda _, x, y: of(x, y)


def _one(of: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda _, x: of(x)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": _two(operator.add),
    "AveragePool": _pool(functional.avg_pool2d, 0),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _one(torch.ceil),
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Conv": _conv,
    "Div": _divide,
    "Erf": _one(torch.erf),
    "Expand": lambda _, x, shape: x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist()))),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _one(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": lambda a, x: (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _one(functional.hardswish),
    "Identity": _one(lambda x: x),
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "MatMul": _two(operator.matmul),
    "MaxPool": _pool(functional.max_pool2d, float("-inf")),
    "Mul": _two(operator.mul),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _two(operator.pow),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep)),
    "Relu": _one(torch.relu),
    "Reshape": _reshape,
    "Shape": _one(lambda x: torch.tensor(x.shape, dtype=torch.int64)),
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(operator.sub),
    "Tanh": _one(torch.tanh),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
