"""A straight line through readings, and how sure its slope is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GROWTH = 0.05
"""Of the level in an hour: what is more is growth."""
LEAST = 3
"""Readings that a slope with its error needs."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Per hour.

    Attributes:
        an_hour: how much a reading grows in an hour.
        error: standard error of that; readings close in time resemble each other, so it is rather too small.
        level: the mean reading.
    """

    an_hour: float
    error: float
    level: float

    @property
    def grows(self) -> bool:
        """More than two standard errors above nothing, and by more than 5 % of the level an hour."""
        return self.an_hour > 2 * self.error and self.an_hour > GROWTH * abs(self.level)

    @property
    def verdict(self) -> str:
        """`grows`; `steady`: two standard errors more would be no growth either; `not shown`: noise may hide growth."""
        if self.grows:
            return "grows"
        return "steady" if self.an_hour + 2 * self.error <= GROWTH * abs(self.level) else "not shown"


def fit(seconds: Sequence[float], readings: Sequence[float]) -> Slope:
    """Least squares.

    Raises:
        ValueError: fewer than three readings.
    """
    if len(seconds) < LEAST:
        raise ValueError("a slope with its error needs three readings or more")
    x, y = np.asarray(seconds, float) / 3600, np.asarray(readings, float)
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    left = y - y.mean() - slope * centred
    error = float(np.sqrt(left @ left / (len(x) - 2) / (centred @ centred)))
    return Slope(slope, error, float(y.mean()))
