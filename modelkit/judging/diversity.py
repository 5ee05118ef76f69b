"""How differently models err: a vote of models that make the same mistakes brings nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Diversity:
    """Two models side by side, after Kuncheva and Whitaker (2003).

    Attributes:
        models: their names.
        disagreement: share of pictures to which they give different answers.
        double_fault: share of pictures that both get wrong; no vote of the two can be right there.
    """

    models: tuple[str, str]
    disagreement: float
    double_fault: float


def diversity(opinions: Mapping[str, npt.NDArray[np.float32]], labels: npt.NDArray[np.int64]) -> tuple[Diversity, ...]:
    """Every pair of models.

    Args:
        opinions: name to float32 [N, 7]; a row with NaN is no answer, which is wrong and agrees with nothing.
        labels: int64 [N], 0..6; rows of -1 are left out.
    """
    known = labels >= 0
    answers = {
        name: np.where(np.isfinite(told).all(axis=1), np.nan_to_num(told).argmax(axis=1), -1 - place)[known]
        for place, (name, told) in enumerate(opinions.items())
    }
    wrong = {name: answer != labels[known] for name, answer in answers.items()}
    return tuple(
        Diversity((a, b), float((answers[a] != answers[b]).mean()), float((wrong[a] & wrong[b]).mean()))
        for a, b in combinations(answers, 2)
    )
