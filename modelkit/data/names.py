"""What people call the seven expressions."""

from __future__ import annotations

import re
from difflib import get_close_matches

from serving.expressions import Expression

SYNONYMS: dict[Expression, tuple[str, ...]] = {
    Expression.ANGRY: ("angry", "anger", "mad"),
    Expression.DISGUST: ("disgust", "disgusted"),
    Expression.FEAR: ("fear", "fearful", "afraid", "scared"),
    Expression.HAPPY: ("happy", "happiness", "joy", "smile", "smiling"),
    Expression.NEUTRAL: ("neutral", "calm", "normal"),
    Expression.SAD: ("sad", "sadness", "unhappy"),
    Expression.SURPRISED: ("surprised", "surprise"),
}

_BY_NAME = {name: expression for expression, names in SYNONYMS.items() for name in names}


def expression_of(name: str) -> Expression | None:
    """The expression that a class name stands for, whatever its case and punctuation; None: it has no counterpart."""
    return _BY_NAME.get(plain(name))


def nearest_expression(name: str) -> Expression | None:
    """The expression whose name is nearly this one, as where it is misspelt; None: none is near."""
    near = get_close_matches(plain(name), list(_BY_NAME), n=1, cutoff=0.7)
    return _BY_NAME[near[0]] if near else None


def plain(name: str) -> str:
    """A name in lower case, letters alone."""
    return re.sub(r"[^a-z]", "", name.lower())
