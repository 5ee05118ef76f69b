"""Observations of one kind, in the order in which they became known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cli.ab.estimate import Numbers, Whole

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """Observations in the order in which they became known.

    Attributes:
        values: float64 [N].
        callers: int64 [N], whose each is.
        times: float64 [N], when each became known, Unix time in seconds, rising.
        truth: int64 [N], the true expression; 0 where there is none.
        tables: int64 [N], under which routing table each was answered; 0 where that does not matter.
    """

    values: Numbers
    callers: Whole
    times: Times
    truth: Whole
    tables: Whole

    def __len__(self) -> int:
        return len(self.values)

    def until(self, time: float) -> Series:
        """Those that were known by then."""
        return self.at(np.arange(int(np.searchsorted(self.times, time, side="right"))))

    def beside(self, other: Series) -> Series:
        """Those from under a table of which the other has some, too."""
        return self.at(np.flatnonzero(np.isin(self.tables, other.tables)))

    def then(self, other: Series) -> Series:
        """Both, not by time any more."""
        return Series(*map(np.concatenate, zip(self._parts, other._parts, strict=True)))

    def at(self, places: Whole) -> Series:
        """Those at some places, which rise."""
        return Series(*(part[places] for part in self._parts))

    @property
    def _parts(self) -> tuple[npt.NDArray[Any], ...]:
        return self.values, self.callers, self.times, self.truth, self.tables


Row = tuple[float, int, float, int, int]
"""Time, caller, value, truth, table."""


def series(rows: list[Row]) -> Series:
    """From rows in any order."""
    rows.sort(key=lambda row: row[0])
    times, callers, values, truth, tables = zip(*rows, strict=True) if rows else ((),) * 5
    return Series(
        np.array(values, np.float64),
        np.array(callers, np.int64),
        np.array(times, np.float64),
        np.array(truth, np.int64),
        np.array(tables, np.int64),
    )
