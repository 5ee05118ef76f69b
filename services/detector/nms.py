"""Non-maximum suppression over faces of any class: of boxes that overlap, the surest stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def iou(box: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Intersection over union of one box [4] with many [N, 4] (x1, y1, x2, y2): float32 [N], 0 for empty boxes."""
    shared = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    intersection = shared[:, 0] * shared[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = area + areas - intersection
    ratio: npt.NDArray[np.float32] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ratio


def suppress(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], iou_threshold: float, limit: int
) -> npt.NDArray[np.intp]:
    """Greedy, class-agnostic non-maximum suppression.

    Args:
        boxes: float32 [N, 4], x1, y1, x2, y2, finite.
        scores: float32 [N], finite. Equal scores keep the order of `boxes`.
        iou_threshold: a box that overlaps a surer one by more than this goes.
        limit: at most this many boxes stay.

    Returns:
        Indices of the boxes that stay, surest first. At most `limit` rounds of vectorised work.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while len(order) and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[iou(boxes[best], boxes[order]) <= iou_threshold]
    return np.array(kept, np.intp)
