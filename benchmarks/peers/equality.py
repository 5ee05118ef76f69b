"""Whether two servers gave the same answer: the same faces, expressions and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

BOX = 1.0
"""Pixels of an image of 640 x 480; bfloat16 moves a box by more than float32 on another backend does."""
PROBABILITY = {"fp32": 0.005, "bf16": 0.05}
BOX_REDUCED = 3.0


def difference(answer: Any, other: Any, precision: str) -> str:
    """What differs by more than rounding explains, for people; empty where nothing does.

    Args:
        answer: faces, or seven probabilities.
        other: the same of the other one.
        precision: the less exact one of the two.
    """
    if answer and isinstance(answer[0], float):
        return _far("probability", answer, other, PROBABILITY[precision])
    if len(answer) != len(other):
        return f"{len(answer)} faces, not {len(other)}"
    for one, two in zip(answer, other, strict=True):
        said = (
            _far("box", one["box"], two["box"], BOX if precision == "fp32" else BOX_REDUCED)
            or ("" if one["expression"] == two["expression"] else f"{one['expression']}, not {two['expression']}")
            or _far("probability", one["probabilities"], two["probabilities"], PROBABILITY[precision])
        )
        if said:
            return said
    return ""


def _far(what: str, one: Any, two: Any, limit: float) -> str:
    gap = float(np.abs(np.subtract(one, two)).max())
    return f"a {what} differs by {gap:.3g}" if gap > limit else ""
