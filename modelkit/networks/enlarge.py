"""A start for EfficientNets: the weights of a smaller relative, pretrained on ImageNet, inside a larger network.

Each layer of the smaller network is laid into the leading channels of its counterpart. New channels start fresh and
nothing old reads them, blocks that the smaller network lacks start as identity, and squeeze-and-excitation passes
everything. With ReLU6 and "same" padding (timm's `tf_efficientnet_*` with `act_layer="relu6"`) the larger network
therefore computes the features of the smaller one exactly, in the spirit of Net2Net (Chen et al., "Net2Net:
Accelerating Learning via Knowledge Transfer", ICLR 2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_DEPTHS = {16: (1, 2, 2, 3, 3, 4, 1), 21: (1, 3, 3, 4, 4, 5, 1)}
"""Blocks a stage by their sum: EfficientNet-Lite0, and Lite1 and Lite2, which differ in width only."""
_GATE = 2.0  # bias of a gate of squeeze-and-excitation: sigmoid(2) = 0.88, open but not saturated
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def is_lite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is an EfficientNet-Lite's, in the names of the package `efficientnet_lite_pytorch`."""
    return "_conv_stem.weight" in tensors and not any("_se_" in name for name in tensors)


def enlarge(network: nn.Module, smaller: Mapping[str, Tensor]) -> None:
    """Lays an EfficientNet-Lite into a timm EfficientNet, in place; the classifier stays as it is.

    Args:
        network: a timm EfficientNet (B0 and larger) with one or three input channels.
        smaller: state dict of EfficientNet-Lite0, 1 or 2; a colour stem is summed for a grey network.

    Raises:
        ValueError: `smaller` is none of these, or has a layer that `network` has no room for.
    """
    blocks = len({name.split(".")[1] for name in smaller if name.startswith("_blocks.")})
    if not is_lite(smaller) or blocks not in _DEPTHS:
        raise ValueError("these are not the weights of EfficientNet-Lite0, 1 or 2")
    target = network.state_dict()
    with torch.no_grad():
        for source, place in _ENDS.items():
            _lay(target, place, smaller, source)
        block = 0
        for stage, depth in enumerate(_DEPTHS[blocks]):
            names = _FIRST if stage == 0 else _OTHERS
            for index in range(depth):
                for source, place in names.items():
                    _lay(target, f"blocks.{stage}.{index}.{place}", smaller, f"_blocks.{block}.{source}")
                block += 1
            index, last = depth, list(names.values())[-1]
            while f"blocks.{stage}.{index}.{last}.weight" in target:
                target[f"blocks.{stage}.{index}.{last}.weight"].zero_()
                index += 1
        _open_gates(target)


def _open_gates(target: Mapping[str, Tensor]) -> None:
    """Every gate of squeeze-and-excitation starts at the same value, and the projection behind it makes up for it."""
    for name in target:
        if name.endswith(".se.conv_expand.weight"):
            block = name.removesuffix(".se.conv_expand.weight")
            target[name].zero_()
            target[f"{block}.se.conv_expand.bias"].fill_(_GATE)
            projection = target.get(f"{block}.conv_pwl.weight")
            if projection is None:
                projection = target[f"{block}.conv_pw.weight"]
            projection.div_(1 / (1 + math.exp(-_GATE)))


def _lay(target: Mapping[str, Tensor], place: str, smaller: Mapping[str, Tensor], source: str) -> None:
    for kind in ("weight", "bias", "running_mean", "running_var"):
        value = smaller.get(f"{source}.{kind}")
        if value is None:
            continue
        room = target.get(f"{place}.{kind}")
        if room is not None and value.ndim == 4 and value.shape[1] == 3 and room.shape[1] == 1:
            value = value.sum(dim=1, keepdim=True)
        if room is None or room.ndim != value.ndim or any(a < b for a, b in zip(room.shape, value.shape, strict=True)):
            raise ValueError(f"the network has no room for {source}.{kind} {list(value.shape)} at {place}")
        if value.ndim == 4 and room.shape[1] > value.shape[1]:
            room[: value.shape[0]] = 0
        room[tuple(slice(0, size) for size in value.shape)] = value
