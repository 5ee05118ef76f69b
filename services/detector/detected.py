"""The faces of an image, and what finding them took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferry.v1 import types_pb2
from services.detector.engine import DetectedFace


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """One answer.

    Attributes:
        faces: surest first.
        crops: uint8 [faces, side, side, 3]; None where none were asked for, or where they have to be cut from a larger
            copy of the picture.
        size: of the upright image.
        model: that found them.
        decode_seconds: what decoding took.
        queue_seconds: wait for the model.
        compute_seconds: duration of its run, or runs.
    """

    faces: list[DetectedFace]
    crops: npt.NDArray[np.uint8] | None
    size: types_pb2.ImageSize
    model: types_pb2.ModelVersion
    decode_seconds: float
    queue_seconds: float
    compute_seconds: float
