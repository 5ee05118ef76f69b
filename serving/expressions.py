"""The seven expressions, in the one order every tensor and table of Ferry uses."""

from __future__ import annotations

from enum import StrEnum


class Expression(StrEnum):
    """A facial expression. Member order is the column order of every probability tensor."""

    ANGRY = "angry"
    DISGUST = "disgust"
    FEAR = "fear"
    HAPPY = "happy"
    NEUTRAL = "neutral"
    SAD = "sad"
    SURPRISED = "surprised"


EXPRESSIONS: tuple[Expression, ...] = tuple(Expression)
INDEX: dict[Expression, int] = {expression: i for i, expression in enumerate(EXPRESSIONS)}
