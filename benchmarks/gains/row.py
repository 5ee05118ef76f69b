"""One line of the table of gains: a technique against its baseline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way of doing it showed; None where it was not measured.

    Attributes:
        per_second: rows or images each second.
        p50_ms: median milliseconds of one run or one request.
        megabytes: of the model file or files, 10^6 bytes.
        accuracy: share of public_test's crops that were named rightly, [0, 1].
    """

    per_second: float | None = None
    p50_ms: float | None = None
    megabytes: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A technique, what is said of it, and what was measured.

    Attributes:
        technique: as the table calls it.
        subject: the model, or `cluster`.
        promise: what is commonly said of the technique.
        against: the baseline in words.
        baseline: its figures; None where the row was skipped.
        measured: the technique's figures; None where the row was skipped.
        note: why the row was skipped, or what a reader must know.
    """

    technique: str
    subject: str
    promise: str
    against: str
    baseline: Figures | None = None
    measured: Figures | None = None
    note: str = ""

    def ratio(self, field: str) -> float | None:
        """Measured over baseline; None where either is missing."""
        measured, baseline = (getattr(figures, field, None) for figures in (self.measured, self.baseline))
        return measured / baseline if measured and baseline else None

    @property
    def points(self) -> float | None:
        """Accuracy gained, percentage points."""
        before, after = (figures.accuracy if figures else None for figures in (self.baseline, self.measured))
        return None if before is None or after is None else (after - before) * 100

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {
            "throughput_ratio": self.ratio("per_second"),
            "p50_ratio": self.ratio("p50_ms"),
            "size_ratio": self.ratio("megabytes"),
            "accuracy_points": self.points,
        }
