"""Asking less for the same answer: later classifiers see only the faces that those before them leave unsure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ferry.v1 import types_pb2
from services.ensembler.models import Judgement
from services.ensembler.vote import Floats, soft_vote
from serving.tensors import from_tensor, to_tensor

Rows = npt.NDArray[np.bool_]


def unsure(opinions: Floats, weights: npt.NDArray[np.float64], threshold: float) -> Rows:
    """Which faces the soft vote of some models leaves less confident than `threshold`.

    Args:
        opinions: float32 [models, N, 7]; rows of NaN where a model has no opinion.
        weights: float64 [models].
        threshold: in (0, 1].

    Returns:
        bool [N]; true as well where no model has an opinion.
    """
    return np.asarray(soft_vote(opinions, weights).max(axis=1) < threshold)


def some_crops(crops: types_pb2.Tensor, rows: Rows) -> types_pb2.Tensor:
    """The crops of some faces: uint8 [N, size, size, 3] to [rows.sum(), size, size, 3]."""
    return crops if rows.all() else to_tensor(np.ascontiguousarray(from_tensor(crops, "crops")[rows]))


def spread_out(given: Judgement, rows: Rows) -> Judgement:
    """A judgement of the faces in `rows` as one of all N faces, with rows of NaN for the others."""
    if rows.all():
        return given
    everywhere = np.full((len(rows), given.probabilities.shape[1]), np.nan, np.float32)
    everywhere[rows] = given.probabilities
    return replace(given, probabilities=everywhere)
