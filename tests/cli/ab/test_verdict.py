"""What an interval means, in words."""

import pytest

from cli.ab.estimate import Estimate
from cli.ab.verdict import LEAST_CALLERS, LEAST_LABELS, Verdict, in_points, judge

ENOUGH = (5000, 5000)


def estimate(value: float, variance: float = 1e-5, n: int = 10_000) -> Estimate:
    return Estimate(value, variance, n, n)


def test_a_difference_outside_the_interval_has_a_direction() -> None:
    better = judge(estimate(0.05), ENOUGH, 0.05, 0.01)
    assert better.verdict is Verdict.BETTER
    assert in_points(better, "canary", "stable") == "canary is better than stable by 5.0 points (3.9 to 6.1)"
    worse = judge(estimate(-0.05), ENOUGH, 0.05, 0.01)
    assert in_points(worse, "canary", "stable") == "canary is worse than stable by 5.0 points (3.9 to 6.1)"


def test_less_can_be_better() -> None:
    errors = judge(estimate(-0.05), ENOUGH, 0.05, 0.01, higher_is_better=False)
    assert errors.verdict is Verdict.BETTER


def test_a_narrow_interval_around_nothing_says_so() -> None:
    alike = judge(estimate(0.001, 1e-6), ENOUGH, 0.05, 0.01)
    assert in_points(alike, "canary", "stable") == "no difference larger than 1 point"


def test_what_is_not_decided_says_how_many_labels_are_missing() -> None:
    open_ = judge(estimate(0.02, 1e-4, 3000), ENOUGH, 0.05, 0.01)
    assert open_.verdict is Verdict.UNDECIDED
    assert open_.more is not None
    later = judge(estimate(0.02, 1e-4 * 3000 / (3000 + open_.more), 3000 + open_.more), ENOUGH, 0.05, 0.01)
    assert later.interval.low == pytest.approx(0, abs=2e-3)
    assert "more labels" in in_points(open_, "canary", "stable")


@pytest.mark.parametrize("least", [(LEAST_LABELS - 1, 5000), (5000, LEAST_CALLERS - 1)])
def test_a_handful_decides_nothing(least: tuple[int, int]) -> None:
    assert judge(estimate(0.5), least, 0.05, 0.01).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("least", "needs"),
    [
        ((5000, 3), "20 callers on each side, where one has 3"),
        ((40, 20), "about 120 more labels"),
        ((40, 3), "about 120 more labels and 20 callers on each side, where one has 3"),
    ],
)
def test_where_there_is_too_little_of_something_that_is_what_it_needs(least: tuple[int, int], needs: str) -> None:
    found = judge(estimate(0.5), least, 0.05, 0.01)
    assert in_points(found, "canary", "stable") == f"not decided: needs {needs}"
