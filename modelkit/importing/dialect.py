"""EfficientNets as other libraries name their tensors, under timm's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from modelkit.importing.fit import COUNTED, outline

Modules = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Dialect:
    """How a library names an EfficientNet. All of them have the same layers in the same order.

    Attributes:
        telling: matches a name that no other library gives.
        layer: matches a tensor of any layer but the last; its groups are the layer and the tensor in it.
        position: of a layer among the others, to sort by.
        architectures: timm's names of those that compute the same, down to padding and epsilon.
    """

    telling: re.Pattern[str]
    layer: re.Pattern[str]
    position: Callable[[str], tuple[int, ...]]
    architectures: tuple[str, ...]


def _numbers(layer: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", layer))


IN_A_BLOCK = ("expand_conv", "bn0", "depthwise_conv", "bn1", "se_reduce", "se_expand", "project_conv", "bn2")
OUTSIDE = {"_conv_stem": (-2,), "_bn0": (-1,), "_conv_head": (1000,), "_bn1": (1001,)}


def _place(layer: str) -> tuple[int, ...]:
    if layer in OUTSIDE:
        return OUTSIDE[layer]
    _, number, part = layer.split(".")
    return int(number), IN_A_BLOCK.index(part[1:])


DIALECTS = (
    Dialect(  # torchvision; from B5 on its epsilon is another than that of timm's network with this padding
        telling=re.compile(r"(?:.*\.|^)features\.\d+\.\d+\.block\.\d+\.fc1\.weight"),
        layer=re.compile(r"(?:.*\.|^)features\.([\d.]+|.*\.block\..*)\.(\w+)"),
        position=_numbers,
        architectures=tuple(f"efficientnet_b{i}" for i in range(5)),
    ),
    Dialect(  # efficientnet_pytorch
        telling=re.compile(r"(?:.*\.|^)_blocks\.\d+\._depthwise_conv\.weight"),
        layer=re.compile(
            rf"(?:.*\.|^)(_blocks\.\d+\._(?:{'|'.join(IN_A_BLOCK)})|(?<!\d\.)(?:{'|'.join(OUTSIDE)}))"
            r"\.(\w+)"
        ),
        position=_place,
        architectures=tuple(f"tf_efficientnet_b{i}" for i in range(8)),
    ),
)


def as_timm(tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str | None]:
    """Renames the tensors of another library's EfficientNet.

    Args:
        tensors: of a checkpoint, under any wrapper's prefix.

    Returns:
        The tensors under timm's names, the last layer under its own, and timm's name of the architecture. Tensors of
        anything else as they came, and None.
    """
    for dialect in DIALECTS:
        if any(dialect.telling.fullmatch(name) for name in tensors):
            return _translated(tensors, dialect)
    return tensors, None


def _translated(tensors: Mapping[str, Tensor], dialect: Dialect) -> tuple[Mapping[str, Tensor], str | None]:
    theirs: Modules = {}
    rest: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if match := dialect.layer.fullmatch(name):
            theirs.setdefault(match[1], {})[match[2]] = tensor
        else:
            rest[name] = tensor
    layers = [theirs[name] for name in sorted(theirs, key=dialect.position)]
    stem = layers[0].get("weight")
    for architecture in dialect.architectures:
        ours = _modules(architecture, stem.shape[1] if stem is not None and stem.ndim == 4 else 3)
        if [_shapes(layer) for layer in layers] == [_shapes(layer) for layer in ours.values()]:
            pairs = zip(ours, layers, strict=True)
            named = {f"{to}.{name}": tensor for to, layer in pairs for name, tensor in layer.items()}
            return rest | named, architecture
    return tensors, None


def _modules(architecture: str, channels: int) -> Modules:
    """The layers of timm's network, in their order, without the last."""
    found: Modules = {}
    for name, tensor in outline(architecture, channels).items():
        module, leaf = name.rsplit(".", 1)
        found.setdefault(module, {})[leaf] = tensor
    return found


def _shapes(layer: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in layer.items() if f".{name}" != COUNTED}
