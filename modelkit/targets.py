"""What a classifier is to answer: labels, softened by teachers or smoothed, and mixed with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelkit.recipes import Recipe
from serving.expressions import EXPRESSIONS

CLASSES = len(EXPRESSIONS)


@dataclass(frozen=True)
class Teacher:
    """A trained network that says its opinion of every training view.

    Seeing the very view that the student sees, mixed with others and relit, it teaches what it computes rather than
    what it remembers of the pictures (Beyer et al., "Knowledge distillation: A good teacher is patient and
    consistent", CVPR 2022).

    Attributes:
        network: in evaluation mode, on the student's device; float32 [N, 1, S, S] to `(logits, embedding or None)`.
        size: S, pixels.
        mean: of pixels scaled to [0, 1].
        std: likewise.
    """

    network: nn.Module
    size: int
    mean: float
    std: float

    def __call__(self, views: Tensor) -> Tensor:
        """float32 [N, 1, H, H] in [0, 1] to probabilities float32 [N, classes]."""
        if views.shape[-1] != self.size:
            views = functional.interpolate(views, (self.size, self.size), mode="bilinear", antialias=True)
        return functional.softmax(self.network((views - self.mean) / self.std)[0].float(), dim=1)


def targets(
    labels: npt.NDArray[np.int64], taught: npt.NDArray[np.float32] | None, recipe: Recipe, *, plain: bool
) -> Tensor:
    """float32 [N, classes]: labels, softened by teachers (Hinton et al. 2015) or by label smoothing, or plain."""
    hard = functional.one_hot(torch.from_numpy(labels), CLASSES).float()
    if plain:
        return hard
    if taught is None:
        return hard * (1 - recipe.label_smoothing) + recipe.label_smoothing / CLASSES
    return hard * (1 - recipe.teacher_share) + torch.from_numpy(taught) * recipe.teacher_share


def mix(
    views: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator, numbers: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) on a share of the batches, one ratio for the batch."""
    if not recipe.mixup or numbers.random() >= recipe.mixup_share:
        return views, labels
    ratio = numbers.beta(recipe.mixup, recipe.mixup)
    other = torch.randperm(len(views), generator=generator, device=views.device)
    return views * ratio + views[other] * (1 - ratio), labels * ratio + labels[other] * (1 - ratio)
