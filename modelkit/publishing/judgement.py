"""What is known of a version before it is promoted, beside the version that it would replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelkit.judging.floor import FLOOR, below_floor
from modelkit.publishing.card import FIGURES, by_split
from serving.expressions import EXPRESSIONS
from serving.repository.manifest import Manifest

TOLERATED = 0.01
"""A figure that is lower by more than this share is a reason to ask."""
_LESS_IS_BETTER = {"ece"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the record, a share: `before` of the served version, `after` of the new one; None: not known."""

    split: str
    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Two manifests side by side.

    Attributes:
        figures: those of the new version, with the served one's where they were taken on as many pictures of the same.
        doubts: why one would not promote it without a second look; empty where nothing speaks against it.
    """

    figures: tuple[Figure, ...]
    doubts: tuple[str, ...]


def judge(served: Manifest | None, candidate: Manifest) -> Judgement:
    """Compares what the manifests say; nothing is run.

    Args:
        served: what the candidate would replace; None where nothing is served.
        candidate: the version to promote.
    """
    known = {} if served is None else by_split(served)
    figures: list[Figure] = []
    doubts: list[str] = []
    for split, own in by_split(candidate).items():
        others = known.get(split, {})
        if _pictures(others) != _pictures(own):
            others = {}
        figures += [
            Figure(split, name, _share(others.get(name)), _share(own.get(name)))
            for name in FIGURES
            if _share(own.get(name)) is not None
        ]
        low = below_floor({name: _share(own.get(name)) for name in FIGURES})
        doubts += [f"on {split}, {low}"] if low else []
    if not any(figure.name in FLOOR for figure in figures):
        doubts.append(f"nobody has judged version {candidate.version}")
    for figure in figures:
        if figure.name not in _LESS_IS_BETTER and figure.before is not None and figure.after is not None:
            lost = figure.before - figure.after
            doubts += [f"{figure.name} on {figure.split} is {lost:.3f} lower"] if lost > TOLERATED else []
    if served is not None:
        lacking = _told(served) - _told(candidate)
        names = ", ".join(each.value for each in EXPRESSIONS if each in lacking)
        doubts += [f"it never answers {names}, which version {served.version} does"] if lacking else []
    return Judgement(tuple(figures), tuple(doubts))


def _pictures(figures: dict[str, Any]) -> tuple[Any, ...]:
    return figures.get("n"), figures.get("n_crops")


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _told(manifest: Manifest) -> set[Any]:
    return {label.expression for label in manifest.labels if label.expression is not None}
