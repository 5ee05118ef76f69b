"""What a run gives to each request in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Outputs = Mapping[str, npt.NDArray[np.float32]]
Finish = Callable[[Outputs], object]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The rows of one request, and what they cost.

    Attributes:
        outputs: output name to float32 [n, ...], in the order of the request's rows.
        queue_seconds: wait in the queue, of a split request all its waits together.
        compute_seconds: duration of the run, or runs; what its thread does meanwhile (serving.models.backends.deferred)
            counts where it takes longer.
        row_seconds: of the longest run for each of its rows.
        finished: what `finish` made of the outputs; None where it was not asked to, or not on the thread of a run.
    """

    outputs: Outputs
    queue_seconds: float
    compute_seconds: float
    row_seconds: float = 0.0
    finished: object = None


def completed(result: BatchResult, finish: Finish | None) -> BatchResult | Exception:
    """The result with what `finish` makes of it, or the error of that."""
    if finish is None:
        return result
    try:
        return replace(result, finished=finish(result.outputs))
    except Exception as error:
        return error
