"""When requests are due: at constant distances, or at those of a Poisson process."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from enum import StrEnum


class Arrivals(StrEnum):
    """`poisson`: exponential distances, as from many callers who know nothing of each other; `constant`: equal ones."""

    POISSON = "poisson"
    CONSTANT = "constant"


def due_times(arrivals: Arrivals, rate: float, seconds: float, seed: int, period: float = math.inf) -> Iterator[float]:
    """Seconds from the start, ascending, below `seconds`.

    Args:
        arrivals: how distances are drawn.
        rate: a second, above 0.
        seconds: length.
        seed: of the chance.
        period: seconds after which all begins anew, as it was.
    """
    began = 0.0
    while began < seconds:
        chance = random.Random(seed)
        due = began + (chance.random() / rate if arrivals is Arrivals.CONSTANT else chance.expovariate(rate))
        while due < min(began + period, seconds):
            yield due
            due += 1 / rate if arrivals is Arrivals.CONSTANT else chance.expovariate(rate)
        began += period
