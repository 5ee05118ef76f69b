"""Training on from a published model: its ONNX file back into the network that it was exported from.

Export folds each batch normalisation into the convolution before it. Unfolding it needs the statistics of that
convolution's output, which are measured anew on training pictures; the network then answers as the published one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modelkit.networks.arcface import ArcFace
from modelkit.networks.architectures import TimmClassifier
from modelkit.networks.mobilenet import read_mobilenet


def restore(network: nn.Module, file: Path, inputs: Tensor) -> None:
    """Fills a network with the weights of its exported ONNX file, in place.

    Args:
        network: an ArcFace network, or a timm classifier in which a batch normalisation follows each convolution
            without a bias.
        file: exported from such a network, fp16 or fp32 weights, mirrored or not.
        inputs: float32 [N, 1, H, W], prepared training pictures to measure statistics on; a few hundred.

    Raises:
        ValueError: the file's layers are not this network's.
    """
    if isinstance(network, ArcFace):
        _restore_arcface(network, file, inputs)
        return
    if not isinstance(network, TimmClassifier):
        raise ValueError("this architecture cannot be trained on from an ONNX file; pass --init a safetensors file")
    layers = [m for m in network.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))]
    stored = _stored_layers(file)
    weighted = [layer for layer in layers if not isinstance(layer, nn.BatchNorm2d)]
    shapes = [tuple(layer.weight.shape) for layer in weighted]
    if shapes != [tuple(weight.shape) for weight, _ in stored]:
        raise ValueError(f"{file} holds {len(stored)} layers that are not the {len(weighted)} of this network")
    norms = {one: two for one, two in pairwise(layers) if isinstance(two, nn.BatchNorm2d)}
    for layer in weighted:
        if layer.bias is None and layer not in norms:
            raise ValueError(f"{file}: no batch normalisation follows {layer}")
    _fill(network, dict(zip(weighted, stored, strict=True)), norms, inputs)


def _restore_arcface(network: ArcFace, file: Path, inputs: Tensor) -> None:
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    norms = {
        one: two for one, two in pairwise(layers) if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d)
    }
    graph, values = _read(file)
    folded = [[values[name] for name in node.input[1:3]] for node in graph.node if node.op_type == "Conv"]
    if [tuple(layer.weight.shape) for layer in norms] != [tuple(weight.shape) for weight, _ in folded]:
        raise ValueError(f"{file} holds {len(folded)} convolutions that are not the {len(norms)} of this network")
    with torch.no_grad():
        for name, norm in network.named_modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) and norm not in set(norms.values()):
                for kind in ("weight", "bias", "running_mean", "running_var"):
                    _copy(getattr(norm, kind), _named(values, f"{name}.{kind}", file), file)
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                _copy(layer.weight, _used_by(graph, values, "MatMul", 1, file).T, file)
        _copy(network.centres, _centres(graph, values, file), file)
    _fill(network, {layer: (pair[0], pair[1]) for layer, pair in zip(norms, folded, strict=True)}, norms, inputs)


def _named(values: Mapping[str, Tensor], name: str, file: Path) -> Tensor:
    """The tensor of this name, whatever wrapped the network when it was exported."""
    for stored, value in values.items():
        if stored == name or stored.endswith(f".{name}"):
            return value
    raise ValueError(f"{file} holds no tensor {name}: another architecture")


def _centres(graph: Any, values: Mapping[str, Tensor], file: Path) -> Tensor:
    """One row a class. Simplified graphs hold them normalised and transposed; their length decides nothing."""
    if any(node.op_type == "Div" and node.input[0] in values for node in graph.node):
        return _used_by(graph, values, "Div", 0, file)
    return _used_by(graph, values, "MatMul", 1, file, last=True).T


def _used_by(
    graph: Any, values: Mapping[str, Tensor], operation: str, position: int, file: Path, *, last: bool = False
) -> Tensor:
    """The first (or last) stored matrix that an operation of this kind takes there."""
    for node in reversed(graph.node) if last else graph.node:
        if node.op_type == operation and node.input[position] in values and values[node.input[position]].ndim == 2:
            return values[node.input[position]]
    raise ValueError(f"{file} holds no matrix for a {operation}: another architecture")


def _copy(into: Tensor, value: Tensor, file: Path) -> None:
    if into.shape != value.shape:
        raise ValueError(f"{file} holds {list(value.shape)} where this network has {list(into.shape)}")
    into.copy_(value)


def start_from_mobilenet(network: nn.Module, file: Path, std: float, inputs: Tensor) -> None:
    """Fills the trunk of an ArcFace network on a `FaceMobileNet` with its author's weights, in place.

    Args:
        network: `modelkit.networks.architectures.build("face-mobilenet", ...)`; embedding and class centres stay as
            they are.
        file: see `modelkit.networks.mobilenet.read_mobilenet`.
        std: by which inputs in [0, 1] are divided.
        inputs: float32 [N, 1, H, W], prepared training pictures to measure statistics on; a few hundred.

    Raises:
        ValueError: the file is not such a network, or `network` has other layers.
    """
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    norms = {one: two for one, two in pairwise(layers) if isinstance(two, nn.BatchNorm2d)}
    stored = read_mobilenet(file, std)
    if [tuple(layer.weight.shape) for layer in norms] != [tuple(weight.shape) for weight, _ in stored]:
        raise ValueError(f"{file} holds a MobileNet 1.0, which this network is not")
    _fill(network, dict(zip(norms, stored, strict=True)), norms, inputs)


def restore_detector(network: nn.Module, file: Path, inputs: Tensor) -> None:
    """Fills an Ultralytics detection network with the weights of its exported ONNX file, in place.

    Args:
        network: a fresh DetectionModel of the architecture and classes that were exported.
        file: exported from such a network, fp16 or fp32 weights.
        inputs: float32 [N, 3, side, side], photos in [0, 1] to measure statistics on; a few dozen.

    Raises:
        ValueError: the file's layers are not this network's.
    """
    stored, filled = _stored_tensors(file), dict[nn.Module, tuple[Tensor, Tensor]]()
    norms: dict[nn.Module, nn.BatchNorm2d] = {}
    for name, module in network.named_modules():
        norm = getattr(module, "bn", None)
        if isinstance(norm, nn.BatchNorm2d):
            norms[module.get_submodule("conv")] = norm
        if not isinstance(module, nn.Conv2d) or not module.weight.requires_grad:
            continue
        weight, bias = stored.get(f"{name}.weight"), stored.get(f"{name}.bias")
        if weight is None or bias is None or weight.shape != module.weight.shape:
            raise ValueError(f"{file} holds no layer {name} of shape {list(module.weight.shape)}: another architecture")
        filled[module] = weight, bias
    _fill(network, filled, {layer: norms[layer] for layer in filled if layer in norms}, inputs)


def _fill(
    network: nn.Module,
    stored: Mapping[nn.Module, tuple[Tensor, Tensor]],
    norms: Mapping[nn.Module, nn.BatchNorm2d],
    inputs: Tensor,
) -> None:
    """Copies weights and biases; where a normalisation follows, the bias becomes its own."""
    with torch.no_grad():
        fresh = {layer: layer.weight.flatten(1).norm(dim=1) for layer in norms if isinstance(layer, nn.Conv2d)}
        for layer, (weight, bias) in stored.items():
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
                continue
            norm = norms[layer]
            norm.weight.fill_(1)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
            norm.bias.copy_(bias)
        _unfold(network, {layer: norms[layer] for layer in fresh}, fresh, inputs)


def _unfold(
    network: nn.Module,
    norms: Mapping[nn.Conv2d, nn.BatchNorm2d],
    lengths: Mapping[nn.Conv2d, Tensor],
    inputs: Tensor,
) -> None:
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
        factor = lengths[layer] / layer.weight.flatten(1).norm(dim=1).clamp(min=1e-8)
        layer.weight.mul_(factor.view(-1, 1, 1, 1))
        norm.running_mean.copy_(mean * factor)
        norm.running_var.copy_(variance * factor**2)
        # As it was: weight * (y * factor - mean * factor) / sqrt(...) + bias + mean equals y + bias.
        norm.weight.copy_((norm.running_var + norm.eps).sqrt() / factor)
        norm.bias.add_(mean)


def _stored_layers(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the file's convolutions and linear layers, float32, in the order they run."""
    graph, values = _read(file)
    layers = []
    for node in graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            weight, bias = (values[name] for name in node.input[1:3])
            layers.append((weight, bias))
    return layers


def _stored_tensors(file: Path) -> dict[str, Tensor]:
    """Every stored tensor of the file by its name, float32."""
    return _read(file)[1]


def _read(file: Path) -> tuple[Any, dict[str, Tensor]]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(file).graph
    values = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()).float() for each in graph.initializer}
    for node in graph.node:  # fp16-stored weights pass a Cast, equal ones are shared through an Identity
        if node.op_type in {"Cast", "Identity"} and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return graph, values
