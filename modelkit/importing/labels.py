"""Class names of other people's models, and what they mean here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from modelkit.data.names import expression_of, nearest_expression, plain
from modelkit.importing.errors import CheckpointError
from serving.expressions import Expression
from serving.repository.manifest import Label

MAX_CLASSES = 1024
"""Of a model that is imported; nobody tells more expressions apart."""

NONE = ("none", "-", "")
"""What a person writes for a class without counterpart."""

FACE = ("face", "faces", "humanface")
"""Classes of detectors that are a face, whatever it shows."""
WITHOUT_COUNTERPART = ("contempt", "contemptuous")
"""Expressions of other people's data that are none of the seven."""
NO_FACE = ("noface", "nonface", "notface", "nf", "none", "other", "others", "unknown", "uncertain", "background")
"""Classes of classifiers for what is no expression at all."""
_MOST_SHOWN = 8


def make_labels(
    names: Sequence[str], overrides: Mapping[str, str], *, detector: bool = False, without: Collection[Expression] = ()
) -> tuple[Label, ...]:
    """Labels in the model's own order. Nothing is guessed: a class that says nothing has to be explained.

    Args:
        names: the model's classes.
        overrides: class name to expression, or to `none`, or of a detector to `face`; they come before the synonyms.
        detector: each class is then a face; a classifier's may also be none.
        without: expressions that the model is known to have no class for.

    Raises:
        CheckpointError: an override names no class or no expression, a class has no meaning here, or one of the seven
            expressions has no class. A detector of faces alone needs none.
    """
    wrong = sorted(set(overrides) - set(names))
    if wrong:
        raise CheckpointError(f"--map names {wrong[0]!r}, but the classes are {_listed(names)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CheckpointError(f"two classes are named {twice[0]!r}: name them apart with --labels")
    _explained([name for name in names if name not in overrides], names, detector)
    labels = tuple(Label(name=name, expression=_mapped(name, overrides, detector)) for name in names)
    _complete(labels, without, detector)
    return labels


def parse_without(texts: Sequence[str]) -> tuple[Expression, ...]:
    """Expressions by name, some of them with commas between them.

    Raises:
        CheckpointError: one is none of the seven.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    found = [expression_of(part) for part in parts]
    for part, expression in zip(parts, found, strict=True):
        if expression is None:
            raise CheckpointError(f"--without {part!r}: choose from {', '.join(each.value for each in Expression)}")
    return tuple(expression for expression in found if expression is not None)


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


def _explained(unmapped: Sequence[str], names: Sequence[str], detector: bool) -> None:
    """That every class that the caller has not mapped says what it is."""
    others = (*WITHOUT_COUNTERPART, *(FACE if detector else NO_FACE))
    strange = [name for name in unmapped if expression_of(name) is None and plain(name) not in others]
    if not strange:
        return
    if len(strange) == len(names) and not any(nearest_expression(name) for name in names):
        if detector:
            raise CheckpointError(
                f"no class of this detector is a face or an expression: {_listed(names)}. It finds other things; where "
                "a class is a face after all, say so with --map CLASS=face, or with an expression"
            )
        raise CheckpointError(
            f"no class of this model is an expression: {_listed(names)}. If these are but numbers for them, pass "
            "--labels in the model's own order; else say what each means with --map CLASS=expression"
        )
    hints = []
    for name in strange[:_MOST_SHOWN]:
        near = nearest_expression(name)
        offer = f"did you mean {near.value}? --map '{name}={near.value}'" if near else f"--map '{name}=EXPRESSION'"
        hints.append(f"{name!r}: {offer}")
    leave = "CLASS=face if it is a face that shows none of them" if detector else "CLASS=none to leave it out"
    more = f" and {len(strange) - _MOST_SHOWN} more" if len(strange) > _MOST_SHOWN else ""
    raise CheckpointError(f"what these classes mean is not known: {'; '.join(hints)}{more}. Or --map {leave}")


def _complete(labels: Sequence[Label], without: Collection[Expression], detector: bool) -> None:
    """That the seven are there, but for those that the caller has named."""
    told = {label.expression for label in labels if label.expression is not None}
    there = [each.value for each in Expression if each in without and each in told]
    if there:
        raise CheckpointError(f"--without {there[0]}, but a class means {there[0]}")
    if not told:
        if detector:
            return
        raise CheckpointError("no class means an expression: a classifier has to answer some")
    lacking = [each.value for each in Expression if each not in told and each not in without]
    if lacking:
        raise CheckpointError(
            f"no class means {', '.join(lacking)}: the model would never answer that, and would vote against it. Map a "
            f"class to it (--map CLASS={lacking[0]}), or say that it has none: --without {','.join(lacking)}"
        )


def _listed(names: Sequence[str]) -> str:
    more = f", … ({len(names)} classes)" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _mapped(name: str, overrides: Mapping[str, str], detector: bool) -> Expression | None:
    if name not in overrides:
        return expression_of(name)
    wanted = overrides[name].lower()
    if wanted in NONE or (detector and wanted in FACE):
        return None
    found = expression_of(wanted)
    if found is None:
        raise CheckpointError(
            f"{wanted!r} is no expression; choose from {', '.join(e.value for e in Expression)}, none"
        )
    return found
