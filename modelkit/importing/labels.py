"""Class names of other people's models, and what they mean here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from modelkit.importing.errors import CheckpointError
from serving.expressions import Expression
from serving.repository.manifest import Label

MAX_CLASSES = 1024
"""Of a model that is imported; nobody tells more expressions apart."""

SYNONYMS: dict[Expression, tuple[str, ...]] = {
    Expression.ANGRY: ("angry", "anger", "mad"),
    Expression.DISGUST: ("disgust", "disgusted"),
    Expression.FEAR: ("fear", "fearful", "afraid", "scared"),
    Expression.HAPPY: ("happy", "happiness", "joy", "smile", "smiling"),
    Expression.NEUTRAL: ("neutral", "calm", "normal"),
    Expression.SAD: ("sad", "sadness", "unhappy"),
    Expression.SURPRISED: ("surprised", "surprise"),
}
NONE = ("none", "-", "")
"""What a person writes for a class without counterpart."""

_BY_NAME = {name: expression for expression, names in SYNONYMS.items() for name in names}


def expression_of(name: str) -> Expression | None:
    """The expression that a class name stands for, whatever its case and punctuation; None: it has no counterpart."""
    return _BY_NAME.get(re.sub(r"[^a-z]", "", name.lower()))


def make_labels(names: Sequence[str], overrides: Mapping[str, str]) -> tuple[Label, ...]:
    """Labels in the model's own order.

    Args:
        names: the model's classes.
        overrides: class name to expression, or to `none`; they come before the table of synonyms.

    Raises:
        CheckpointError: an override names no class or no expression.
    """
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise CheckpointError(f"--map names {unknown[0]!r}, but the classes are {', '.join(names)}")
    return tuple(Label(name=name, expression=_mapped(name, overrides)) for name in names)


def parse_overrides(pairs: Sequence[str]) -> dict[str, str]:
    """`Contempt=neutral` as a dictionary.

    Raises:
        CheckpointError: a pair without `=`.
    """
    for pair in pairs:
        if "=" not in pair:
            raise CheckpointError(f"--map is written CLASS=expression (or CLASS=none), not {pair!r}")
    return {key.strip(): value.strip() for key, _, value in (pair.partition("=") for pair in pairs)}


def left_out(labels: Sequence[Label]) -> str:
    """A sentence for the manifest; empty where every class has its expression."""
    names = [label.name for label in labels if label.expression is None]
    if not names:
        return ""
    if len(names) == len(labels):
        return " It finds faces and has no opinion on expression."
    return f" Left out, the others renormalised: {', '.join(names)}."


def _mapped(name: str, overrides: Mapping[str, str]) -> Expression | None:
    if name not in overrides:
        return expression_of(name)
    wanted = overrides[name].lower()
    if wanted in NONE:
        return None
    found = expression_of(wanted)
    if found is None:
        raise CheckpointError(
            f"{wanted!r} is no expression; choose from {', '.join(e.value for e in Expression)}, none"
        )
    return found
