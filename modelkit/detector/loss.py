"""Ultralytics' detection loss for faces whose expression is a distribution instead of one class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modelkit.shims.ultralytics import install


class SoftAssigner:
    """Gives anchors to faces by box and by the sum of the class scores, which is what a face is scored by.

    It stands in for Ultralytics' TaskAlignedAssigner, whose labels are here rows of `expressions`.
    """

    def __init__(self, agnostic: Any) -> None:
        self._agnostic = agnostic
        self.expressions = torch.empty(0, 0)

    def __call__(  # noqa: PLR0917
        self, scores: Tensor, boxes: Tensor, anchors: Tensor, rows: Tensor, truth: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """As TaskAlignedAssigner's `forward`; target scores [B, A, classes] share a face's score as its expression."""
        faceness = scores.sum(-1, keepdim=True).clamp(max=1)
        labels, target_boxes, target, foreground, which = self._agnostic(
            faceness, boxes, anchors, torch.zeros_like(rows), truth, mask
        )
        if not rows.shape[1]:
            return labels, target_boxes, target.expand_as(scores), foreground, which
        rows = rows.squeeze(-1).long().gather(1, which.long())
        return labels, target_boxes, target * self.expressions[rows], foreground, which


class SoftLoss:
    """The loss of a DetectionModel."""

    def __init__(self, net: Any) -> None:
        install()
        from ultralytics.utils.loss import v8DetectionLoss
        from ultralytics.utils.tal import TaskAlignedAssigner

        self._loss = v8DetectionLoss(net)
        given = self._loss.assigner
        self._assigner = SoftAssigner(
            TaskAlignedAssigner(topk=given.topk, num_classes=1, alpha=given.alpha, beta=given.beta, stride=given.stride)
        )
        self._loss.assigner = self._assigner

    def __call__(self, predictions: dict[str, Any], index: Tensor, boxes: Tensor, expressions: Tensor) -> Tensor:
        """Box, class and distribution loss, float [3], each times the number of images.

        Args:
            predictions: what the net says in training mode.
            index: [F], the image of each face, ascending.
            boxes: float [F, 4], centre and size as shares of the image.
            expressions: float [F, classes]; rows sum to 1.
        """
        self._assigner.expressions = expressions
        rows = torch.arange(len(index), device=index.device, dtype=torch.float32)
        losses: Tensor = self._loss(predictions, {"batch_idx": index.float(), "cls": rows, "bboxes": boxes})[0]
        return losses
