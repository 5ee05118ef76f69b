"""Where a statically quantized file rounds, and the same rounding for a network that learns to live with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

_INPUT, _WEIGHT = "_QuantizeLinear_Input", "_quantized"
"""What ONNX Runtime's quantizer appends to the name of an output that it rounds, and of weights."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Places:
    """What of a graph is rounded.

    Attributes:
        activations: tensor to the range that eight bits hold of it.
        weights: weights to the axis along which each slice has a scale of its own; None: one scale for all.
        signed: activations are int8, symmetric.
    """

    activations: Mapping[str, Range]
    weights: Mapping[str, int | None]
    signed: bool


def find_places(quantized: Any) -> Places:
    """Reads them off the QuantizeLinear and DequantizeLinear nodes of a file.

    Args:
        quantized: onnx.ModelProto, as `StaticQuantizer.write` makes it.
    """
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    activations: dict[str, Range] = {}
    weights: dict[str, int | None] = {}
    signed = False
    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input[1:3])
            limits = np.iinfo(zero.dtype)
            signed = zero.dtype == np.int8
            low, high = ((limit - int(zero)) * float(scale) for limit in (limits.min, limits.max))
            activations[node.input[0].removesuffix(_INPUT)] = (-high if signed else low, high)
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored:
            tensor = stored[node.input[0]]
            if tensor.data_type != TensorProto.INT8:
                continue  # a bias: its 32 bits round to nothing that could be seen
            scale = numpy_helper.to_array(stored[node.input[1]])
            axis = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"), None)
            weights[tensor.name.removesuffix(_WEIGHT)] = axis if scale.size > 1 else None
    return Places(activations, weights, signed)


class Rounding(nn.Module):
    """Rounds tensors as the quantized file would; the gradient passes the rounding as if it were not there.

    The ends of each range are learnt with the weights (Esser et al., "Learned Step Size Quantization", ICLR 2020, here
    as logarithms of factors): a rare large value is cut where that serves the answers.
    """

    def __init__(self, places: Places, *, seven_bits: bool) -> None:
        super().__init__()
        self._places = places
        self._names = {name: f"r{i}" for i, name in enumerate(places.activations)}
        for own in self._names.values():
            self.register_parameter(own, nn.Parameter(torch.zeros(2)))
        self._largest = 64 if seven_bits else 127

    def forward(self, name: str, value: Tensor) -> Tensor:
        """What the quantized file has in the place of this tensor."""
        if name in self._names:
            return self._activation(name, value)
        if name in self._places.weights:
            return self._weight(value, self._places.weights[name])
        return value

    def ranges(self) -> dict[str, Range]:
        """The ranges as they are now."""
        with torch.no_grad():
            return {name: (float(low), float(high)) for name in self._names for low, high in [self._ends(name)]}

    def _ends(self, name: str) -> tuple[Tensor, Tensor]:
        low, high = self._places.activations[name]
        factors = self.get_parameter(self._names[name]).exp()
        if self._places.signed:
            return -factors[1] * high, factors[1] * high
        return factors[0] * low, factors[1] * high

    def _activation(self, name: str, value: Tensor) -> Tensor:
        low, high = self._ends(name)
        result: Tensor = _EightBits.apply(value, low, high, self._places.signed)
        return result

    def _weight(self, value: Tensor, axis: int | None) -> Tensor:
        most = self._largest
        if axis is None:
            scale = _scale(value.detach().abs().amax(), most)
            return torch.fake_quantize_per_tensor_affine(value, scale, _zero(scale), -most, most)
        others = [i for i in range(value.ndim) if i != axis % value.ndim]
        scale = _scale(value.detach().abs().amax(others), most)
        return torch.fake_quantize_per_channel_affine(value, scale, _zero(scale), axis % value.ndim, -most, most)


class _EightBits(torch.autograd.Function):
    """A tensor in the 256 steps between `low` and `high`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor, signed: bool) -> Tensor:
        if signed:
            scale, least, most = _scale(high, 127), -128, 127
            zero = _zero(scale)
        else:
            scale, least, most = _scale(high - low, 255), 0, 255
            zero = (-low / scale).round().clamp(0, 255).to(torch.int32)
        y = torch.fake_quantize_per_tensor_affine(x, scale, zero, least, most)
        ctx.save_for_backward(x, y, low, high)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, y, low, high = ctx.saved_tensors
        grad, below, above = grads[0], x < low, x > high
        inside = grad.masked_fill(below | above, 0)
        # Inside, a wider range makes wider steps: dy/dhigh = -dy/dlow = (y - x) / (high - low). Outside, y is the end.
        steps = (inside * (y - x)).sum() / (high - low)
        return inside, (grad * below).sum() - steps, (grad * above).sum() + steps, None


def _scale(largest: Tensor, steps: int) -> Tensor:
    return (largest / steps).clamp(min=1e-12)


def _zero(scale: Tensor) -> Tensor:
    return torch.zeros_like(scale, dtype=torch.int32)
