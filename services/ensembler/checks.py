"""Whether a model's answer can be used. Cheap looks at shapes and values; nothing here copies pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ferry.v1 import detector_pb2, types_pb2
from services.ensembler.vote import Floats
from serving.errors import InvalidArgumentError
from serving.expressions import EXPRESSIONS
from serving.tensors import from_tensor

SUM_TOLERANCE = 1e-2
"""How far from 1 the sum of a row of probabilities may be; reduced precision stays far below."""


class NonsenseError(Exception):
    """A model's answer that cannot be used."""


def check_crops(crops: types_pb2.Tensor, faces: int, size: int) -> None:
    """Checks type and shape; the length of the bytes is for those who read them.

    Args:
        crops: should be uint8 [faces, size, size, 3].
        faces: 1 or more.
        size: pixels.

    Raises:
        NonsenseError: it is something else.
    """
    if crops.data_type != types_pb2.DATA_TYPE_UINT8 or list(crops.shape) != [faces, size, size, 3]:
        raise NonsenseError(f"crops of shape {list(crops.shape)} for {faces} faces of {size} pixels")


def checked_probabilities(tensor: types_pb2.Tensor, faces: int) -> Floats:
    """A classifier's probabilities as float32 [faces, 7], read-only, finite, rows about 1.

    Raises:
        NonsenseError: they are not that.
    """
    try:
        rows = from_tensor(tensor, "probabilities")
    except InvalidArgumentError as error:
        raise NonsenseError(error.message) from error
    if rows.dtype != np.float32 or rows.shape != (faces, len(EXPRESSIONS)):
        raise NonsenseError(f"probabilities of type {rows.dtype} and shape {list(rows.shape)} for {faces} faces")
    if not _are_probabilities(rows).all():
        raise NonsenseError("probabilities that are not in [0, 1] or do not sum to 1")
    return rows


def detector_opinions(detections: Sequence[detector_pb2.Detection]) -> Floats:
    """The detector's own probabilities as float32 [N, 7]; rows of NaN where it has no opinion that can be used."""
    rows = np.full((len(detections), len(EXPRESSIONS)), np.nan, np.float32)
    for i, detection in enumerate(detections):
        if len(detection.probabilities) == len(EXPRESSIONS):
            rows[i] = detection.probabilities
    rows[~_are_probabilities(rows)] = np.nan
    return rows


def _are_probabilities(rows: Floats) -> npt.NDArray[np.bool_]:
    """bool [N]. Comparisons with NaN are false, and with anything infinite or negative the first test fails."""
    within = np.asarray(((rows >= 0) & (rows <= 1 + SUM_TOLERANCE)).all(axis=1))
    return np.asarray(np.abs(rows.sum(axis=1, where=within[:, None]) - 1) <= SUM_TOLERANCE)
