"""Where labels go: beside the faces and not on them, as long as there is room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Rect = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_ON_A_LABEL = 2.0
"""How much worse it is to cover a label than to cover as much of a face: neither can be read then."""
_RINGS = 4
"""How many times a label's height it is moved away at most, to find free ground."""


def place(size: tuple[float, float], box: Rect, taken: Sequence[tuple[Rect, float]], picture: tuple[int, int]) -> Rect:
    """Where a label of `size` for `box` covers least of what is taken; the nearest of places that cover as little.

    Args:
        size: width and height of the label.
        box: of the face.
        taken: rectangles and how bad it is to cover a pixel of each; `box` may be among them.
        picture: width and height; the label stays inside as far as it fits.
    """
    reach_x, reach_y = size[0] + _RINGS * size[1], (_RINGS + 1) * size[1]
    zone = (box[0] - reach_x, box[1] - reach_y, box[2] + reach_x, box[3] + reach_y)
    # What was moved inside may lie anywhere along an edge; that is rare, and then near enough.
    near = [(other, weight) for other, weight in taken if overlap(zone, other)]
    best, least = None, float("inf")
    for candidate in _candidates(size, box, picture):
        cost = sum(overlap(candidate, other) * weight for other, weight in near)
        if cost < least:
            best, least = candidate, cost
        if not cost:
            break
    assert best is not None
    return best


def obstacles(faces: Iterable[Rect], labels: Iterable[Rect]) -> list[tuple[Rect, float]]:
    """What a label should not cover."""
    return [*((face, 1.0) for face in faces), *((label, _ON_A_LABEL) for label in labels)]


def overlap(one: Rect, other: Rect) -> float:
    """Pixels that both cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _candidates(size: tuple[float, float], box: Rect, picture: tuple[int, int]) -> Iterator[Rect]:
    """From where people look for a label first: above, below, beside, then the same further away."""
    (width, height), (left, top, right, bottom) = size, box
    middle = (left + right - width) / 2
    for ring in range(_RINGS):
        away = ring * height
        above, below = top - height - away, bottom + away
        for x, y in (
            (left, above),
            (middle, above),
            (right - width, above),
            (left, below),
            (middle, below),
            (right - width, below),
            (right + away, top),
            (left - width - away, top),
            (right + away, bottom - height),
            (left - width - away, bottom - height),
        ):
            x0 = max(0.0, min(x, picture[0] - width))
            y0 = max(0.0, min(y, picture[1] - height))
            yield (x0, y0, x0 + width, y0 + height)
