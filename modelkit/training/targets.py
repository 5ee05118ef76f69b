"""What a classifier is to answer: labels, softened by teachers or smoothed, and mixed with each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from modelkit.data.expressions import ExpressionSet
from modelkit.data.votes import crowd_majority, crowd_shares
from modelkit.training.recipes import Recipe
from serving.expressions import EXPRESSIONS

CLASSES = len(EXPRESSIONS)


def targets(data: ExpressionSet, taught: npt.NDArray[np.float32] | None, recipe: Recipe, *, plain: bool) -> Tensor:
    """float32 [N, heads * classes]: for each head what it is to answer; a head's rows sum to its weight.

    One head answers with labels, softened by teachers (Hinton et al. 2015) or by label smoothing, or plain. Of two, the
    first answers with the crowd's votes (rows sum to the share of votes for one of the seven expressions: pictures in
    which people see something else, or nothing, count less), the second with labels, weighed by `label_weight`.
    """
    labelled = torch.from_numpy(data.labels)
    hard = functional.one_hot(labelled.clamp(min=0), CLASSES).float() * (labelled >= 0).view(-1, 1)
    if taught is not None and not plain:
        labels = hard * (1 - recipe.teacher_share) + torch.from_numpy(taught) * recipe.teacher_share
    elif plain and recipe.heads == 1:
        labels = hard
    else:
        labels = hard * (1 - recipe.label_smoothing) + hard.sum(dim=1, keepdim=True) * recipe.label_smoothing / CLASSES
    if recipe.heads == 1:
        return labels
    if data.votes is None:
        raise ValueError("two heads need the crowd's votes beside the pictures")
    return torch.cat([torch.from_numpy(crowd_shares(data.votes)), labels * recipe.label_weight], dim=1)


def softened(wanted: Tensor, opinion: Tensor, recipe: Recipe) -> Tensor:
    """What a view's heads are to answer once teachers have said what they see.

    A head keeps its weight. Where nobody labelled a picture, the teachers' word is all there is, at a label's weight.

    Args:
        wanted: float32 [N, heads * classes], see `targets`.
        opinion: float32 [N, classes] or [N, heads * classes], the teachers' mean; a head's rows sum to 1.
        recipe: gives `teacher_share` and `label_weight`.
    """
    rows = wanted.unflatten(1, (-1, CLASSES))
    told = opinion.unflatten(1, (-1, CLASSES)).expand_as(rows)
    weight = rows.sum(dim=2, keepdim=True)
    alone = torch.tensor([1.0, recipe.label_weight][: rows.shape[1]], device=rows.device).view(1, -1, 1)
    mixed = torch.lerp(rows, told * weight, recipe.teacher_share)
    return torch.where(weight > 0, mixed, told * alone).flatten(1)


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean over pictures of the cross entropies of all heads.

    Args:
        logits: float32 [N, heads * classes].
        wanted: float32 [N, heads * classes], see `targets`.
    """
    heads = logits.unflatten(1, (-1, CLASSES))
    return -(functional.log_softmax(heads, dim=2).flatten(1) * wanted).sum(dim=1).mean()


def judge(logits: npt.NDArray[np.float32], data: ExpressionSet) -> tuple[float, float]:
    """Cross entropy and accuracy of the first head: against the crowd where there are two, else against the labels."""
    answers = torch.from_numpy(logits[:, :CLASSES])
    if data.votes is None or logits.shape[1] == CLASSES:
        labels = torch.from_numpy(data.labels)
        right = answers.argmax(dim=1) == labels
        return float(functional.cross_entropy(answers, labels)), float(right.float().mean())
    crowd, seen = torch.from_numpy(crowd_shares(data.votes)), torch.from_numpy(crowd_majority(data.votes))
    right = (answers.argmax(dim=1) == seen)[seen >= 0]
    return float(loss(answers, crowd) / crowd.sum(dim=1).mean()), float(right.float().mean())


def mix(
    views: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator, numbers: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) on a share of the batches, one ratio for the batch."""
    if not recipe.mixup or numbers.random() >= recipe.mixup_share:
        return views, labels
    ratio = numbers.beta(recipe.mixup, recipe.mixup)
    other = torch.randperm(len(views), generator=generator, device=views.device)
    return views * ratio + views[other] * (1 - ratio), labels * ratio + labels[other] * (1 - ratio)
