"""Depthwise convolutions whose gradient is quick on a CPU.

oneDNN has no fast kernel for the bfloat16 gradients of a depthwise convolution: of its weights on small feature
maps, of its input where it is strided. Three quarters of a training step of an EfficientNet went there. Summing
one product per kernel tap, and computing the input's gradient in float32, is several times faster.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def _overlap(inputs: int, outputs: int, stride: int, offset: int) -> tuple[slice, slice]:
    """The output positions that see an input under a tap at this offset, and the inputs they see."""
    first = max(-(offset // stride), 0)
    count = max(min((inputs - 1 - offset) // stride + 1, outputs) - first, 0)
    start = first * stride + offset
    return slice(first, first + count), slice(max(start, 0), max(start + (count - 1) * stride + 1, 0), stride)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        grad, (sy, sx), (py, px) = grads[0], ctx.stride, ctx.padding
        channels = x.shape[1]
        shape = torch.empty_like(x, dtype=torch.float32)  # all that the input's gradient needs of the input
        grad_x = torch.ops.aten.convolution_backward(
            grad.float(), shape, weight.float(), None, (sy, sx), (py, px), (1, 1), False, (0, 0), channels,
            (True, False, False),
        )[0].to(x.dtype)  # fmt: skip
        source, rows = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
        taps = x.new_zeros(weight.shape[2], weight.shape[3], channels, dtype=torch.float32)
        for i in range(weight.shape[2]):
            to_y, from_y = _overlap(x.shape[2], grad.shape[2], sy, i - py)
            for j in range(weight.shape[3]):
                to_x, from_x = _overlap(x.shape[3], grad.shape[3], sx, j - px)
                product = rows[:, to_y, to_x] * source[:, from_y, from_x]
                taps[i, j] = product.sum((0, 1, 2), dtype=torch.float32)
        return grad_x, taps.permute(2, 0, 1).reshape(weight.shape).to(weight.dtype), None, None


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with groups == channels, symmetric padding and no dilation; same parameters, same answer."""

    def forward(self, x: Tensor) -> Tensor:
        """float [N, C, H, W] to float [N, C, H', W']."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        result: Tensor = _Depthwise.apply(x.to(dtype), self.weight.to(dtype), self.stride, self.padding)
        return result


def quicken(network: nn.Module) -> nn.Module:
    """Turns the depthwise convolutions of `network` into `DepthwiseConv2d`, in place."""
    for module in network.modules():
        if (
            type(module) is nn.Conv2d
            and module.groups == module.in_channels == module.out_channels
            and module.bias is None
            and module.dilation == (1, 1)
            and not isinstance(module.padding, str)
            and module.padding_mode == "zeros"
        ):
            module.__class__ = DepthwiseConv2d
    return network
