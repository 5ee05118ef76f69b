"""A part's own time is what its children did not take, whether they ran beside or after each other."""

from __future__ import annotations

import pytest

from benchmarks.where.spans import CLIENT, Span, covered, own_times

MS = 1_000_000
SERVER = 2


def span(service: str, name: str, kind: int, own: int, parent: int, start: float, end: float) -> Span:
    return Span(
        service, name, kind, b"t", bytes([own]), bytes([parent]) if parent else b"", int(start * MS), int(end * MS)
    )


def test_own_times() -> None:
    times = own_times(
        [
            span("ensembler", "/ferry.v1.Ensembler/Recognize", SERVER, 1, 0, 0, 20),
            span("ensembler", "/ferry.v1.Detector/Detect", CLIENT, 2, 1, 1, 11),
            span("detector", "/ferry.v1.Detector/Detect", SERVER, 3, 2, 2, 10),
            span("ensembler", "/ferry.v1.Classifier/Classify", CLIENT, 4, 1, 12, 18),
            span("ensembler", "/ferry.v1.Classifier/Classify", CLIENT, 5, 1, 13, 17),
        ]
    )
    assert times == pytest.approx(
        {
            "ensembler, Recognize": 4,
            "hop ensembler to Detect": 2,
            "detector, Detect": 8,
            "hop ensembler to Classify": 10,
        }
    )


def test_the_union_of_intervals() -> None:
    assert covered([(0, 5), (3, 8), (20, 30)], 2, 25) == 11
    assert covered([], 0, 10) == 0
