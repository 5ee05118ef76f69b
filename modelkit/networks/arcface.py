"""ArcFace: a residual backbone, an L2-normalised embedding, and class centres with an angular margin.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019). The backbone is
their improved residual network (BN-conv-BN-ReLU-conv-BN blocks), cut to 48x48 grey crops.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING = 512


class Block(nn.Module):
    """BN, 3x3 convolution (strided), BN, ReLU, 3x3 convolution, BN, plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x) + self.shortcut(x)
        return result


class Backbone(nn.Module):
    """float32 [N, 1, size, size] to float32 [N, 512], not yet normalised.

    The stem and every stage but the first halve the side.
    """

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], size: int, dropout: float) -> None:
        super().__init__()
        stem = widths[0]
        layers: list[nn.Module] = [nn.Conv2d(1, stem, 5, 2, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)]
        inputs = stem
        for stage, (outputs, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                layers.append(Block(inputs, outputs, 2 if i == 0 and stage > 0 else 1))
                inputs = outputs
        self.features = nn.Sequential(*layers)
        side = -(-size // 2 ** len(widths))
        self.embed = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(inputs * side * side, EMBEDDING, bias=False),
            nn.BatchNorm1d(EMBEDDING),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.embed(self.features(x))
        return result


class ArcFace(nn.Module):
    """Embedding and cosine classifier.

    Args:
        backbone: images to float32 [N, 512].
        classes: number of class centres.
        scale: s of the paper; logits are s * cosine.
    """

    def __init__(self, backbone: nn.Module, classes: int, scale: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.scale = scale
        self.centres = nn.Parameter(torch.randn(classes, EMBEDDING))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [N, 1, 48, 48] to logits float32 [N, classes] and unit embeddings float32 [N, 512]."""
        # Angles want float32: the arc cosine of a cosine rounded to bfloat16 has no usable gradient near 1.
        features = self.backbone(images).float()
        with torch.autocast(features.device.type, enabled=False):
            embedding = functional.normalize(features)
            return self.scale * embedding @ functional.normalize(self.centres.float()).T, embedding

    def training_logits(self, images: Tensor, targets: Tensor, margin: float) -> Tensor:
        """Logits with the angle to the target's centre widened by `margin`.

        Args:
            images: float32 [N, 1, 48, 48].
            targets: float32 [N, classes], rows sum to 1; a mixed target takes its share of the margin.
            margin: m of the paper, radians.
        """
        logits, _ = self(images)
        if not margin:
            return logits
        angle = torch.acos((logits / self.scale).clamp(-1 + 1e-4, 1 - 1e-4))
        return self.scale * torch.cos((angle + margin * targets).clamp(max=math.pi))
