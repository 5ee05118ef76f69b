"""A shadow's answer beside the original: which faces both found, and whether they agree on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ferry.v1 import types_pb2

LEAST_IOU = 0.5
"""Overlap from which two boxes are the same face, as detectors are commonly judged (PASCAL VOC)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Attributes:
    matched: positions in the original and in the shadow's answer, each face once.
    only_original: faces that the shadow did not find.
    only_shadow: faces that it alone found.
    """

    matched: tuple[tuple[int, int], ...]
    only_original: int
    only_shadow: int


def compare(original: Sequence[types_pb2.Face], shadow: Sequence[types_pb2.Face]) -> Comparison:
    """Matches faces by the overlap of their boxes, the best overlap first."""
    overlaps = [
        (overlap, i, j)
        for i, one in enumerate(original)
        for j, other in enumerate(shadow)
        if (overlap := iou(one.box, other.box)) >= LEAST_IOU
    ]
    overlaps.sort(key=lambda item: -item[0])
    left, right = set(range(len(original))), set(range(len(shadow)))
    matched = []
    for _, i, j in overlaps:
        if i in left and j in right:
            left.discard(i)
            right.discard(j)
            matched.append((i, j))
    return Comparison(tuple(sorted(matched)), len(left), len(right))


def iou(one: types_pb2.BoundingBox, other: types_pb2.BoundingBox) -> float:
    """Intersection over union of two boxes, [0, 1]."""
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(one) + _area(other) - both)


def _area(box: types_pb2.BoundingBox) -> float:
    return (box.x_max - box.x_min) * (box.y_max - box.y_min)
