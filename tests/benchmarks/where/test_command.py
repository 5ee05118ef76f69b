"""Only what adds up is added up: CPU does, the times of parts that run side by side do not."""

from __future__ import annotations

from benchmarks.where.command import table

FIGURES = {"detector": 10.0, "classifier": 20.5}


def test_the_largest_part_is_first_and_a_sum_only_where_it_means_something() -> None:
    assert list(table("time, ms", FIGURES, "a title").columns[0].cells) == ["classifier", "detector"]
    with_sum = table("CPU, ms", FIGURES, "a title", total="all processes")
    assert list(with_sum.columns[0].cells) == ["classifier", "detector", "all processes"]
    assert list(with_sum.columns[1].cells)[-1] == "30.50"
