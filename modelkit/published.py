"""Training on from a published model: its ONNX file back into the network that it was exported from.

Export folds each batch normalisation into the convolution before it. Unfolding it needs the statistics of that
convolution's output, which are measured anew on training pictures; the network then answers as the published one.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelkit.architectures import TimmClassifier


def restore(network: nn.Module, file: Path, inputs: Tensor) -> None:
    """Fills a network with the weights of its exported ONNX file, in place.

    Args:
        network: a timm classifier in which a batch normalisation follows each convolution without a bias.
        file: exported from such a network, fp16 or fp32 weights, mirrored or not.
        inputs: float32 [N, 1, H, W], prepared training pictures to measure statistics on; a few hundred.

    Raises:
        ValueError: the file's layers are not this network's.
    """
    if not isinstance(network, TimmClassifier):
        raise ValueError("only timm classifiers can be trained on from an ONNX file; pass --init a safetensors file")
    layers = [m for m in network.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))]
    stored = _stored_layers(file)
    weighted = [layer for layer in layers if not isinstance(layer, nn.BatchNorm2d)]
    shapes = [tuple(layer.weight.shape) for layer in weighted]
    if shapes != [tuple(weight.shape) for weight, _ in stored]:
        raise ValueError(f"{file} holds {len(stored)} layers that are not the {len(weighted)} of this network")
    norms = {one: two for one, two in pairwise(layers) if isinstance(two, nn.BatchNorm2d)}
    with torch.no_grad():
        for layer, (weight, bias) in zip(weighted, stored, strict=True):
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
                continue
            if layer not in norms:
                raise ValueError(f"{file}: no batch normalisation follows {layer}")
            norm = norms[layer]
            norm.weight.fill_(1)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
            norm.bias.copy_(bias)
        _unfold(network, {one: two for one, two in norms.items() if isinstance(one, nn.Conv2d)}, inputs)


def _unfold(network: nn.Module, norms: dict[nn.Conv2d, nn.BatchNorm2d], inputs: Tensor) -> None:
    """Gives every normalisation real statistics and every filter the length it had when it was fresh."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(layer: nn.Module, _: Any, output: Tensor) -> None:
        seen[layer] = output.mean((0, 2, 3)), output.var((0, 2, 3))

    hooks = [layer.register_forward_hook(look) for layer in norms]
    network.eval()(inputs)
    for hook in hooks:
        hook.remove()
    for layer, norm in norms.items():
        mean, variance = seen[layer]
        fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1] // layer.groups
        length = (2 / fan_out * layer.weight[0].numel()) ** 0.5
        factor = length / layer.weight.flatten(1).norm(dim=1).clamp(min=1e-8)
        layer.weight.mul_(factor.view(-1, 1, 1, 1))
        norm.running_mean.copy_(mean * factor)
        norm.running_var.copy_(variance * factor**2)
        # As it was: weight * (y * factor - mean * factor) / sqrt(...) + bias + mean equals y + bias.
        norm.weight.copy_((norm.running_var + norm.eps).sqrt() / factor)
        norm.bias.add_(mean)


def _stored_layers(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the file's convolutions and linear layers, float32, in the order they run."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(file).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:  # fp16-stored weights pass a Cast, equal ones are shared through an Identity
        if node.op_type in {"Cast", "Identity"} and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    layers = []
    for node in graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            weight, bias = (torch.from_numpy(values[name].copy()).float() for name in node.input[1:3])
            layers.append((weight, bias))
    return layers
