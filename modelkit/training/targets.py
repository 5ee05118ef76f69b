"""What a classifier is to answer: labels, softened by teachers or smoothed, and mixed with each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from modelkit.training.recipes import Recipe
from serving.expressions import EXPRESSIONS

CLASSES = len(EXPRESSIONS)


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
