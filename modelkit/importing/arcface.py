"""An ArcFace checkpoint: backbone, embedding and class weights, as Ferry trains it or around a timm backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from modelkit.importing import insightface
from modelkit.importing.classifier import Imported, channels_of, create, preparation
from modelkit.importing.errors import CheckpointError
from modelkit.importing.fit import fit, guess, spellings
from modelkit.importing.labels import MAX_CLASSES
from modelkit.importing.networks import EmbeddingClassifier
from modelkit.networks.arcface import ArcFace, Backbone
from modelkit.networks.mobilenet import FaceMobileNet
from modelkit.training.recipes import RECIPES

DEFAULT_SCALE = 16.0
OWN_MEAN, OWN_STD = (0.5,), (0.25,)


def import_arcface(
    tensors: Mapping[str, Tensor], architecture: str | None, scale: float = DEFAULT_SCALE, linear: bool = False
) -> Imported:
    """Fits a checkpoint of backbone, embedding and class weights.

    Args:
        tensors: of the checkpoint, under any wrapper's names.
        architecture: `iresnet` (InsightFace's or Ferry's own; widths and depths are read from the tensors),
            `face-mobilenet` (Ferry's own), a name that timm knows, or None to guess.
        scale: s of the paper, for a cosine head.
        linear: the head multiplies the embedding as it is, without normalising; so does one with a bias.

    Raises:
        CheckpointError: the checkpoint is of another architecture, or has no embedding or class weights.
    """
    if architecture in {None, "iresnet", "face-mobilenet"} and any("centres" in spellings(name) for name in tensors):
        return _own_mobilenet(tensors, scale) if any("trunk." in name for name in tensors) else _own(tensors, scale)
    if architecture in {None, "iresnet"} and insightface.is_insightface(tensors):
        return _insightface(tensors, None if linear else scale)
    if architecture is None:
        architecture, share = guess(tensors)
        if share < 0.9:
            raise CheckpointError("the backbone cannot be told from the tensors: pass --arch and a name of timm's")
    channels = channels_of(tensors, architecture)
    backbone = create(architecture, 0, channels)
    own = set(backbone.state_dict())
    rest = {name: tensor for name, tensor in tensors.items() if not own & set(spellings(name))}
    fit(backbone, {name: tensor for name, tensor in tensors.items() if name not in rest})
    network = _around(backbone, rest, None if linear else scale)
    classes = len(network.centres)
    return Imported(network, f"arcface:{architecture}", classes, channels, *preparation(backbone, channels))


def _own(tensors: Mapping[str, Tensor], scale: float) -> Imported:
    """Ferry's own residual network, its widths and depths read from the tensors."""
    plain = {spellings(name)[-1] if "features." in name else name: tensor for name, tensor in tensors.items()}
    blocks = [name for name in plain if re.fullmatch(r"(backbone\.)?(features\.)?\d+\.body\.1\.weight", name)]
    numbers = {int(re.sub(r"\D*(\d+)\.body.*", r"\1", name)): plain[name] for name in blocks}
    widths: list[int] = []
    depths: list[int] = []
    for number in sorted(numbers):
        outputs, inputs = numbers[number].shape[:2]
        shortcut = any(name.endswith(f"{number}.shortcut.0.weight") for name in plain)
        if not widths or shortcut or outputs != inputs:
            widths.append(int(outputs))
            depths.append(0)
        depths[-1] += 1
    linear = next((t for name, t in tensors.items() if name.endswith("embed.3.weight")), None)
    centres = next(t for name, t in tensors.items() if "centres" in spellings(name))
    if not widths or linear is None or centres.ndim != 2:
        raise CheckpointError("these are not the tensors of an iresnet: pass --arch with the backbone's name")
    side = round((linear.shape[1] / widths[-1]) ** 0.5)
    size = side * 2 ** len(widths)
    network = ArcFace(Backbone(tuple(widths), tuple(depths), size, 0.0), len(centres), scale)
    fit(network, {_own_name(name): tensor for name, tensor in tensors.items()})
    return Imported(network, "iresnet", len(centres), 1, size, OWN_MEAN, OWN_STD)


def _insightface(tensors: Mapping[str, Tensor], scale: float | None) -> Imported:
    """InsightFace's network with class weights over its embedding."""
    backbone, size = insightface.build(tensors)
    own = {(name, tensor.shape) for name, tensor in backbone.state_dict().items()}
    rest = {
        name: tensor for name, tensor in tensors.items() if not own & {(each, tensor.shape) for each in spellings(name)}
    }
    fit(backbone, {name: tensor for name, tensor in tensors.items() if name not in rest})
    centres, bias = _head(rest, backbone.fc.out_features)
    network = EmbeddingClassifier(backbone, nn.Identity(), centres, bias, None if bias is not None else scale)
    return Imported(
        network, "arcface:iresnet", len(centres), insightface.CHANNELS, size, insightface.MEAN, insightface.STD
    )


def _own_mobilenet(tensors: Mapping[str, Tensor], scale: float) -> Imported:
    """Ferry's own network on a face MobileNet, with the input that its recipe gives it."""
    recipe = RECIPES["arcface"]
    centres = next(t for name, t in tensors.items() if "centres" in spellings(name))
    if centres.ndim != 2:
        raise CheckpointError(f"class centres of shape {list(centres.shape)} are no matrix")
    network = ArcFace(FaceMobileNet(0.0), len(centres), scale)
    fit(network, {_own_name(name): tensor for name, tensor in tensors.items()})
    mean, std = (recipe.mean,), (recipe.std,)
    return Imported(network, recipe.architecture, len(centres), 1, recipe.input_size, mean, std)


def _own_name(name: str) -> str:
    """Without wrappers' prefixes, but with the `backbone.` that belongs to the network."""
    found = re.search(r"(features|trunk|embed)\..*$", name)
    return f"backbone.{found[0]}" if found else spellings(name)[-1]


def _around(backbone: nn.Module, rest: Mapping[str, Tensor], scale: float | None) -> EmbeddingClassifier:
    """Embedding and class weights from what a backbone leaves over."""
    width = int(getattr(backbone, "num_features", 0))
    embeds = [n for n, t in rest.items() if t.ndim == 2 and t.shape[1] == width and n.endswith("weight")]
    if len(embeds) != 1:
        raise CheckpointError(
            f"no single embedding layer over the backbone's {width} features; left over: {_shapes(rest)}"
        )
    weight = rest[embeds[0]]
    dimension = len(weight)
    others = {name: tensor for name, tensor in rest.items() if name != embeds[0]}
    centres, bias = _head(others, dimension)
    layers: list[nn.Module] = [_linear(weight, others.get(embeds[0].removesuffix("weight") + "bias"))]
    norm = {name.rsplit(".", 1)[-1]: tensor for name, tensor in others.items() if tensor.shape == (dimension,)}
    if "running_mean" in norm:
        layers.append(nn.BatchNorm1d(dimension))
        layers[-1].load_state_dict({k: v for k, v in norm.items() if k in layers[-1].state_dict()}, strict=False)
    return EmbeddingClassifier(backbone, nn.Sequential(*layers), centres, bias, None if bias is not None else scale)


def _head(tensors: Mapping[str, Tensor], dimension: int) -> tuple[Tensor, Tensor | None]:
    """Class weights [classes, dimension] and, of a linear head, the bias, from what backbone and embedding leave over.

    Raises:
        CheckpointError: there is no such matrix, or more than one.
    """
    heads = [
        tensor if tensor.shape[1] == dimension else tensor.T
        for tensor in tensors.values()
        if tensor.ndim == 2 and dimension in tensor.shape
    ]
    if len(heads) != 1 or not 1 < len(heads[0]) <= MAX_CLASSES:
        raise CheckpointError(f"no single matrix of class weights over {dimension} numbers; left: {_shapes(tensors)}")
    bias = next((tensor for tensor in tensors.values() if tensor.shape == (len(heads[0]),)), None)
    return heads[0].contiguous(), bias


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    shown = [f"{name} {list(tensor.shape)}" for name, tensor in list(tensors.items())[:8]]
    return ", ".join(shown) or "nothing"
