"""Weights of the soft vote, fitted on pictures that no model has learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import DataError
from modelkit.data.votes import crowd_majority
from modelkit.judging.cascade import Cascade, fit_cascade
from modelkit.judging.diversity import Diversity, diversity
from modelkit.judging.evaluate import held_back
from modelkit.judging.figures import Truth
from modelkit.judging.opinions import judge_pictures, vote, vote_weights
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.expressions import EXPRESSIONS
from serving.repository.repository import ModelRepository

_ROUNDS = 500
_SETTLED = 1e-6

BALANCE = 0.2
"""How much of the fit goes by expression and not by picture: accuracy asks for none of it, mean recall for all.

Of 1,213 held-back pictures 2 show disgust and 9 fear: with one half they would count for a seventh of everything.
"""


@dataclass(frozen=True)
class FittedVote:
    """What a fit found.

    Attributes:
        names: the voters, in the recipe's order.
        versions: of each.
        before, after: weights of each; they sum to 1.
        n: pictures they were fitted on.
        digest: of the held-back pictures.
        truth: `crowd`, or `fer2013` where nobody voted on these pictures.
        figures: `before`, `after` and each voter's name, as `modelkit.judging.figures.Truth.figures` gives them, on
            these pictures.
        diversity: of every two voters, against the same truth.
        cascade: of the classifiers, with the fitted weights; None where there are fewer than two.
    """

    names: tuple[str, ...]
    versions: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    n: int
    digest: str
    truth: str
    figures: dict[str, dict[str, Any]]
    diversity: tuple[Diversity, ...]
    cascade: Cascade | None


def balanced(wanted: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Targets in which every expression counts for more than its pictures are many, see `BALANCE`.

    Args:
        wanted: float32 [N, 7], rows sum to 1, N 1 or more.

    Returns:
        float64 [N, 7], summing to 1 over everything.
    """
    mass = wanted.sum(axis=0, dtype=np.float64)
    occurs = mass > 0
    by_expression = np.divide(BALANCE / occurs.sum(), mass, out=np.zeros_like(mass), where=occurs)
    told: npt.NDArray[np.float64] = wanted * ((1 - BALANCE) / len(wanted) + by_expression)
    return told


def fit_weights(
    opinions: npt.NDArray[np.float32],
    wanted: npt.NDArray[np.floating[Any]],
    start: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """The weights that make what is wanted likeliest under the weighted mean of the opinions.

    Expectation maximisation for the weights of a mixture whose components are fixed: the likelihood never falls, and
    its logarithm is concave in the weights, so there is one best answer (Dempster, Laird and Rubin 1977).

    Args:
        opinions: float32 [models, N, 7]; a row of NaN is no opinion and counts as a uniform one.
        wanted: float [N, 7], N 1 or more; how much each expression of each picture counts, 0 or more.
        start: float64 [models], all above 0; equal by default.

    Returns:
        float64 [models], 0 or more, summing to 1.
    """
    models, _, classes = opinions.shape
    told = np.maximum(np.nan_to_num(opinions.astype(np.float64), nan=1 / classes), 1e-9)
    counts = wanted.astype(np.float64) / wanted.sum()
    weights = np.full(models, 1 / models) if start is None else start / start.sum()
    for _ in range(_ROUNDS):
        shares = weights[:, None, None] * told
        updated = (shares / shares.sum(axis=0) * counts).sum(axis=(1, 2))
        if np.abs(updated - weights).max() < _SETTLED:
            return updated
        weights = updated
    return weights


def fit_vote(models_dir: Path, data: Path, cache: Path, threads: int = 1) -> FittedVote:
    """Fits the default recipe's weights to its published models, on the pictures held back from training.

    What is made likely is what most of the crowd saw, on the pictures that it decides, or each label where nobody
    voted; `BALANCE` of it counts by expression, the rest by picture. The crowd's whole distribution would favour
    whoever is least sure: a model's probabilities say how likely it is that most people agree.

    Args:
        models_dir: the model repository.
        data: see `modelkit.data.expressions.find_parquet`.
        cache: folder for the search for near-duplicates, see `modelkit.data.selection.select`.
        threads: of the models' runtime.

    Raises:
        DataError: fewer than two of the recipe's models are published, or the data is not there.
    """
    repository, weights = ModelRepository(models_dir), vote_weights()
    stored = {name: repository.find(name) for name in weights if name in repository.names()}
    pictures = held_back(data, cache)
    told = {
        name: judge_pictures(model, pictures.crops, threads=threads)
        for name, model in stored.items()
        if model.manifest.has_expressions
    }
    if len(told) < 2:
        raise DataError(f"a vote needs two models with an opinion; {models_dir} has {', '.join(told) or 'none'}")
    rows = np.stack(list(told.values()))
    labels = crowd_majority(pictures.votes) if pictures.voted else pictures.labels
    known = labels >= 0
    before = np.array([weights[name] for name in told], np.float64)
    before = before / before.sum()
    after = fit_weights(rows[:, known], balanced(np.eye(len(EXPRESSIONS), dtype=np.float32)[labels[known]]))
    truth, detector = Truth.of(pictures), read_recipe(DEFAULT_RECIPE).detector.name
    answers = {"before": vote(list(rows), list(before)), "after": vote(list(rows), list(after)), **told}
    return FittedVote(
        names=tuple(told),
        versions=tuple(stored[name].manifest.version for name in told),
        before=tuple(float(weight) for weight in before),
        after=tuple(float(weight) for weight in after),
        n=int(known.sum()),
        digest=pictures.digest,
        truth="crowd" if pictures.voted else "fer2013",
        figures={name: truth.figures(answer) for name, answer in answers.items()},
        diversity=diversity(told, labels),
        cascade=fit_cascade(told, dict(zip(told, after.tolist(), strict=True)), detector, labels),
    )
