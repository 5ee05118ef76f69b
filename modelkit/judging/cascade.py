"""The threshold of a cascade: how seldom later classifiers can be asked while the vote stays as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelkit.judging.metrics import expression_metrics
from modelkit.judging.opinions import vote
from services.ensembler.cascade import unsure

Floats = npt.NDArray[np.float32]

MOST_LOST = 0.002
"""Largest drop of the vote's accuracy, as a share, that a cascade may cost."""

_TRIED = np.arange(100, 29, -1) / 100


@dataclass(frozen=True)
class Cascade:
    """A cascade that was fitted.

    Attributes:
        order: of the classifiers; the heaviest comes first.
        ask_below: threshold of all but the first, see `services.ensembler.recipe.ClassifierEntry`.
        further: share of faces that a second classifier is asked about.
        lost: what the accuracy of the full vote falls by, as a share; below 0: it rises.
        mean_recall_lost: the same of the mean recall.
    """

    order: tuple[str, ...]
    ask_below: float
    further: float
    lost: float
    mean_recall_lost: float


def fit_cascade(
    opinions: Mapping[str, Floats], weights: Mapping[str, float], detector: str, labels: npt.NDArray[np.int64]
) -> Cascade | None:
    """The smallest threshold at which, as at every larger one, accuracy falls by no more than `MOST_LOST`.

    Args:
        opinions: model to float32 [N, 7]; rows of NaN where it has none.
        weights: model to its weight in the vote.
        detector: name of the model that always judges, if it is among them.
        labels: int64 [N]; rows of -1 are left out.

    Returns:
        None with fewer than two classifiers, or without a labelled row.
    """
    order = tuple(sorted((name for name in opinions if name != detector), key=lambda name: -weights[name]))
    known = labels >= 0
    if len(order) < 2 or not known.any():
        return None
    told = {name: rows[known] for name, rows in opinions.items()}
    always = [detector] if detector in told else []
    full = expression_metrics(vote([*told.values()], [weights[name] for name in told]), labels[known])
    best: Cascade | None = None
    for threshold in _TRIED:
        answers, further = ask(told, weights, order, always, float(threshold))
        found = expression_metrics(answers, labels[known])
        lost = full["accuracy"] - found["accuracy"]
        if lost > MOST_LOST:
            break
        recall_lost = full["mean_recall"] - found["mean_recall"]
        best = Cascade(order, float(threshold), float(further.mean()), lost, recall_lost)
    return best


def ask(
    opinions: Mapping[str, Floats],
    weights: Mapping[str, float],
    order: Sequence[str],
    always: Sequence[str],
    threshold: float,
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """What the ensembler answers with a cascade of one threshold.

    Args:
        opinions: model to float32 [N, 7].
        weights: model to its weight.
        order: of the classifiers.
        always: further models, which judge every face beforehand.
        threshold: of all classifiers but the first.

    Returns:
        float32 [N, 7], and bool [N]: whether a second classifier was asked.
    """
    names = [*always, order[0]]
    given = [opinions[name] for name in names]
    further = np.zeros(len(given[0]), bool)
    for name in order[1:]:
        rows = unsure(np.stack(given), np.array([weights[known] for known in names]), threshold)
        given.append(np.where(rows[:, None], opinions[name], np.float32(np.nan)))
        names.append(name)
        further |= rows
    return vote(given, [weights[name] for name in names]), further
