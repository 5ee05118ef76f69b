"""What a run prints fits a terminal, whatever grows."""

from __future__ import annotations

from benchmarks.scaling.command import Point, table
from tests.printed import printed


def test_the_table_fits_80_columns() -> None:
    shown = printed(table([Point("size", "3840x2880", 64, 1234.5, 12_345.0, 12_345.0, 12_345.6, 1000)], "size"))
    assert "…" not in shown
    assert all(word in shown for word in ("3840x2880", "CPU ms a face", "1234.5", "12345.6", "192.9"))
