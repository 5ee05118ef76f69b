"""Which parts of a picture are looked at: the whole of it, and with `detail` overlapping tiles as well."""

from __future__ import annotations

import math

OVERLAP = 0.25
"""Share of a tile's side that its neighbour sees too: faces up to that size lie whole in one of them, larger ones are
found in the whole picture."""

Window = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def useful_detail(width: int, height: int, side: int, detail: int) -> int:
    """The detail that brings anything: tiles are never smaller than what the model sees at once.

    Args:
        width, height: of the picture, pixels.
        side: of the model's input, pixels.
        detail: as asked for, 1 or more.
    """
    return max(1, min(detail, math.ceil(max(width, height) / side)))


def windows(width: int, height: int, detail: int) -> list[Window]:
    """The whole picture first, then square tiles, `detail` of them along its longer side; none where that is 1."""
    whole = (0, 0, width, height)
    if detail == 1:
        return [whole]
    side = math.ceil(max(width, height) / (detail - (detail - 1) * OVERLAP))
    lefts, tops = _starts(width, side), _starts(height, side)
    return [whole, *((x, y, min(x + side, width), min(y + side, height)) for y in tops for x in lefts)]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    steps = math.ceil((length - side) / (side * (1 - OVERLAP)) - 1e-3)
    return [round(step * (length - side) / steps) for step in range(steps + 1)]
