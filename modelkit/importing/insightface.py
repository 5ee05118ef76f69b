"""The residual network that InsightFace trains with ArcFace, with the names that its checkpoints have.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019), section 3.1: blocks of
BN-conv-BN-PReLU-conv-BN, every stage halves the side, BN-dropout-linear-BN give the embedding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from modelkit.importing.errors import CheckpointError
from modelkit.importing.fit import spellings

CHANNELS = 3
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Of RGB pixels scaled to [0, 1]: InsightFace computes (x - 127.5) / 127.5."""

STAGES = 4
MOST_BLOCKS = 100
TELLING = "layer1.0.prelu.weight"


class Block(nn.Module):
    """Two 3x3 convolutions, of which the second has the stride, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return inner + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """float32 [N, 3, 16 S, 16 S] to embeddings float32 [N, D], not normalised.

    Args:
        widths: channels of the stem, then of each stage.
        depths: blocks of each stage.
        side: S, of the last stage's features.
        dimension: D.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int], side: int, dimension: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        for stage, depth in enumerate(depths):
            inputs, outputs = widths[stage], widths[stage + 1]
            blocks = [Block(outputs if i else inputs, outputs, 1 if i else 2) for i in range(depth)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1] * side * side, dimension)
        self.features = nn.BatchNorm1d(dimension)

    def forward(self, images: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(images)))
        for stage in range(STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        result: Tensor = self.features(self.fc(torch.flatten(self.bn2(x), 1)))
        return result


def is_insightface(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint with these tensors is one of InsightFace's backbones, by a name that only they have."""
    return any(TELLING in spellings(name) for name in tensors)


def build(tensors: Mapping[str, Tensor]) -> tuple[IResNet, int]:
    """A network with fresh weights, of the shape that a checkpoint's tensors have, and the side of its input in pixels.

    Raises:
        CheckpointError: tensors are missing without which the shape cannot be told.
    """
    own = {each: tensor for name, tensor in tensors.items() for each in spellings(name)}
    firsts = [own.get(f"layer{stage + 1}.0.conv1.weight") for stage in range(STAGES)]
    stem, embed = own.get("conv1.weight"), _embedding(tensors)
    if stem is None or embed is None or any(first is None for first in firsts):
        raise CheckpointError("a network of InsightFace's with layers missing: it has conv1, layer1 to layer4 and fc")
    widths = [len(stem), *(len(first) for first in firsts if first is not None)]
    found = [re.fullmatch(r"layer(\d)\.(\d+)\.conv1\.weight", name) for name in own]
    depths = [sum(match is not None and int(match[1]) == stage + 1 for match in found) for stage in range(STAGES)]
    side = round((embed.shape[1] / widths[-1]) ** 0.5)
    if max(depths) > MOST_BLOCKS or side < 1 or side * side * widths[-1] != embed.shape[1]:
        raise CheckpointError(f"fc has {embed.shape[1]} inputs, which are no square of {widths[-1]} channels")
    return IResNet(widths, depths, side, len(embed)), side * 2**STAGES


def _embedding(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """The layer `fc` with the most inputs: a head of class weights may have the same name outside of the backbone."""
    layers = [tensor for name, tensor in tensors.items() if spellings(name)[-1] == "fc.weight" and tensor.ndim == 2]
    return max(layers, key=lambda tensor: tensor.shape[1], default=None)
