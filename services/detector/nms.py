"""Non-maximum suppression over faces of any class: of boxes that overlap or lie in each other, the surest stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NESTED = 0.9
"""A box of which this share lies in another one shows the same face: a face fills its box, no second one fits in."""


def iou(box: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Intersection over union of one box [4] with many [N, 4] (x1, y1, x2, y2): float32 [N], 0 for empty boxes."""
    intersection = _intersection(box, boxes)
    return _ratio(intersection, _area(box) + _area(boxes) - intersection)


def _intersection(box: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    shared = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    area: npt.NDArray[np.float32] = shared[:, 0] * shared[:, 1]
    return area


def _area(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    area: npt.NDArray[np.float32] = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area


def _ratio(part: npt.NDArray[np.float32], whole: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    ratio: npt.NDArray[np.float32] = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return ratio


def suppress(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], iou_threshold: float, limit: int
) -> npt.NDArray[np.intp]:
    """Greedy, class-agnostic non-maximum suppression.

    Args:
        boxes: float32 [N, 4], x1, y1, x2, y2, finite.
        scores: float32 [N], finite. Equal scores keep the order of `boxes`.
        iou_threshold: a box that overlaps a surer one by more than this goes; so does one that is nested with it.
        limit: at most this many boxes stay.

    Returns:
        Indices of the boxes that stay, surest first. At most `limit` rounds of vectorised work.
    """
    order, areas = np.argsort(-scores, kind="stable"), _area(boxes)
    kept: list[np.intp] = []
    while len(order) and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(best)
        shared, rest = _intersection(boxes[best], boxes[order]), areas[order]
        overlap = _ratio(shared, areas[best] + rest - shared)
        nested = _ratio(shared, np.minimum(areas[best], rest))
        order = order[(overlap <= iou_threshold) & (nested < NESTED)]
    return np.array(kept, np.intp)
