"""What a classifier says of crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferry.v1 import types_pb2


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One answer.

    Attributes:
        model: that said it.
        probabilities: float32 [N, 7] in Ferry's order, rows sum to 1.
        embeddings: float32 [N, D]; None where the model has none.
        queue_seconds: wait for the model.
        compute_seconds: duration of its run, or runs.
    """

    model: types_pb2.ModelVersion
    probabilities: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32] | None
    queue_seconds: float
    compute_seconds: float
