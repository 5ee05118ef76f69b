"""The vote: several models' probabilities become one. A model without an opinion on a face has no weight there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""Probabilities and shares, of whatever shape is said where they are used."""

_TIE = 1e-6
"""Counts of a hard vote closer than this are equal: the rounding of sums of weights stays far below."""


def shares(opinions: Floats, weights: npt.NDArray[np.floating[Any]]) -> Floats:
    """Each model's share of the vote on each face, renormalised over the models that have an opinion.

    Args:
        opinions: float32 [models, N, 7]; rows of NaN where a model has no opinion.
        weights: float [models], 0 or more.

    Returns:
        float32 [models, N]; columns sum to 1, or to 0 where no model has an opinion. Where only models of weight 0
        have one, they share equally: their word is better than none.
    """
    return _shares(opinions, weights).astype(np.float32)


def soft_vote(opinions: Floats, weights: npt.NDArray[np.floating[Any]]) -> Floats:
    """Weighted mean of the probabilities.

    Args:
        opinions: float32 [models, N, 7]; rows sum to 1, or are NaN where a model has no opinion.
        weights: float [models], 0 or more.

    Returns:
        float32 [N, 7]; rows sum to 1, or are 0 where no model has an opinion.
    """
    return _normalised(_weighted(_shares(opinions, weights), np.nan_to_num(opinions, nan=0.0)))


def hard_vote(opinions: Floats, weights: npt.NDArray[np.floating[Any]]) -> Floats:
    """Weighted count of each model's most likely expression; a tie goes to the larger mean probability.

    Arguments and result as in `soft_vote`. The winner of a tie is ahead by a few millionths, so that it is the
    largest entry of its row.
    """
    share = _shares(opinions, weights)
    known = np.nan_to_num(opinions, nan=0.0)
    count = _weighted(share, known.argmax(axis=2)[..., None] == np.arange(known.shape[2]))
    mean = _weighted(share, known).round(9)
    leading = count >= count.max(axis=1, keepdims=True) - _TIE
    winner = np.where(leading, mean, -1.0).argmax(axis=1)
    count[np.arange(len(count)), winner] += np.where(share.sum(axis=0) > 0, 2 * _TIE, 0.0)
    return _normalised(count)


def _shares(opinions: Floats, weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    has_opinion = np.isfinite(opinions).all(axis=2)
    weighted = has_opinion * np.asarray(weights, np.float64)[:, None]
    weighted = np.where(weighted.sum(axis=0) > 0, weighted, has_opinion)
    return _over(weighted, weighted.sum(axis=0))


def _weighted(share: npt.NDArray[np.float64], values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum over models: [models, N] and [models, N, 7] give [N, 7]."""
    total: npt.NDArray[np.float64] = (share[..., None] * values).sum(axis=0)
    return total


def _over(rows: npt.NDArray[np.float64], total: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
    return result


def _normalised(rows: npt.NDArray[np.float64]) -> Floats:
    return _over(rows, rows.sum(axis=1, keepdims=True)).astype(np.float32)
