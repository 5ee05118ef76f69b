"""Networks around imported weights. Called, they give `(logits, embedding)` as Ferry's own do."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Classifier(nn.Module):
    """Any image classifier: float32 [N, C, H, W] to logits float32 [N, classes]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return cast("Tensor", self.model(images)), None


class EmbeddingClassifier(nn.Module):
    """A backbone, an embedding layer, and class weights: cosine (ArcFace, Deng et al. 2019) or linear.

    Args:
        backbone: float32 [N, C, H, W] to features float32 [N, F].
        embed: features to the embedding, float32 [N, D].
        centres: class weights float32 [classes, D].
        bias: of a linear head, float32 [classes]; None where it has none.
        scale: logits of a cosine head are `scale` times the cosine; None: the head is linear.
    """

    def __init__(
        self, backbone: nn.Module, embed: nn.Module, centres: Tensor, bias: Tensor | None, scale: float | None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embed = embed
        self.centres = nn.Parameter(centres)
        self.bias = nn.Parameter(torch.zeros(len(centres)) if bias is None else bias)
        self.scale = scale

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 [N, classes] and unit embeddings float32 [N, D]."""
        features = self.embed(self.backbone(images))
        embedding = functional.normalize(features)
        if self.scale is None:
            return features @ self.centres.T + self.bias, embedding
        return self.scale * embedding @ functional.normalize(self.centres).T, embedding
