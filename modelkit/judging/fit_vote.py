"""Weights of the soft vote, fitted on pictures that no model has learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelkit.judging.evaluate import opinions_of, vote, vote_weights
from modelkit.judging.metrics import expression_metrics
from modelkit.training.data import REPORTED, DataError
from modelkit.training.selection import select
from serving.repository.repository import ModelRepository

_ROUNDS = 500
_SETTLED = 1e-6


@dataclass(frozen=True)
class FittedVote:
    """What a fit found.

    Attributes:
        names: the voters, in the recipe's order.
        versions: of each.
        before, after: weights of each; they sum to 1.
        n: pictures they were fitted on.
        figures: `before` and `after`, each as `modelkit.judging.metrics.expression_metrics` gives them, on these
            pictures.
    """

    names: tuple[str, ...]
    versions: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    n: int
    figures: dict[str, dict[str, Any]]


def fit_weights(
    opinions: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], start: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """The weights that make the labels likeliest under the weighted mean of the opinions.

    Expectation maximisation for the weights of a mixture whose components are fixed: the likelihood never falls, and
    its logarithm is concave in the weights, so there is one best answer (Dempster, Laird and Rubin 1977).

    Args:
        opinions: float32 [models, N, 7]; a row of NaN is no opinion and counts as a uniform one.
        labels: int64 [N], 0..6, N 1 or more.
        start: float64 [models], all above 0; equal by default.

    Returns:
        float64 [models], 0 or more, summing to 1.
    """
    models, count, classes = opinions.shape
    told = np.nan_to_num(opinions[:, np.arange(count), labels].astype(np.float64), nan=1 / classes)
    told = np.maximum(told, 1e-9)
    weights = np.full(models, 1 / models) if start is None else start / start.sum()
    for _ in range(_ROUNDS):
        shares = weights[:, None] * told
        updated = (shares / shares.sum(axis=0)).mean(axis=1)
        if np.abs(updated - weights).max() < _SETTLED:
            return updated
        weights = updated
    return weights


def fit_vote(models_dir: Path, data: Path, cache: Path, threads: int = 1) -> FittedVote:
    """Fits the default recipe's weights to its published models, on the pictures held back from training.

    Args:
        models_dir: the model repository.
        data: see `modelkit.training.data.find_parquet`.
        cache: folder for the search for near-duplicates, see `modelkit.training.selection.select`.
        threads: of the models' runtime.

    Raises:
        DataError: fewer than two of the recipe's models are published, or the data is not there.
    """
    repository, weights = ModelRepository(models_dir), vote_weights()
    stored = {name: repository.open(name, "latest") for name in weights if name in repository.names()}
    held_back = select(data, REPORTED, cache).validation
    told: dict[str, npt.NDArray[np.float32]] = {}
    for name, model in stored.items():
        answers = opinions_of(model, held_back.images, threads=threads)
        if answers is not None:
            told[name] = answers
    if len(told) < 2:
        raise DataError(f"a vote needs two models with an opinion; {models_dir} has {', '.join(told) or 'none'}")
    rows = list(told.values())
    before = np.array([weights[name] for name in told], np.float64)
    before = before / before.sum()
    after = fit_weights(np.stack(rows), held_back.labels)
    return FittedVote(
        names=tuple(told),
        versions=tuple(stored[name].manifest.version for name in told),
        before=tuple(float(weight) for weight in before),
        after=tuple(float(weight) for weight in after),
        n=len(held_back),
        figures={
            "before": expression_metrics(vote(rows, list(before)), held_back.labels),
            "after": expression_metrics(vote(rows, list(after)), held_back.labels),
        },
    )
