"""The algorithm, against the examples and rules of Kubernetes' documentation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.autoscaling.controller import SYNC_SECONDS, Controller, Readings, proposal
from deploy.capacity.autoscaler import Autoscaler, Policy, Rules, Select

FREE_UP = Rules(0, Select.MAX, (Policy(True, 900, 60),))
FREE_DOWN = Rules(0, Select.MAX, (Policy(True, 100, 15),))
SCALER = Autoscaler("x", 1, 100, 2.0, None, FREE_UP, FREE_DOWN)


def readings(*values: float, target: float = 1.0, **others: float) -> Readings:
    return Readings(tuple(value / target for value in values), **others)  # type: ignore[arg-type]


def constant(controller: Controller, start: int, ratio: float, rounds: int, now: float = 0.0) -> list[int]:
    """Replicas after each round, every pod being at `ratio` of its target throughout."""
    replicas, seen = start, []
    for n in range(rounds):
        replicas = controller.sync(now + n * SYNC_SECONDS, replicas, [Readings((ratio,) * replicas)])
        seen.append(replicas)
    return seen


@pytest.mark.parametrize(
    ("current", "values", "target", "wanted"),
    [
        (1, [200], 100, 2),  # twice the target: twice the pods
        (4, [50, 50, 50, 50], 100, 2),  # half of it: half of them
        (3, [4, 4, 4], 3, 4),
        (3, [90, 100, 125], 100, 3),  # 1.05 is within the tolerance
        (10, [110] * 10, 100, 10),  # and so is 1.1
        (10, [111] * 10, 100, 12),  # 11.1 is rounded up
        (10, [90] * 10, 100, 10),
        (10, [89] * 10, 100, 9),
    ],
)
def test_replicas_follow_the_ratio(current: int, values: list[float], target: float, wanted: int) -> None:
    assert proposal(current, readings(*values, target=target)) == wanted


def test_each_direction_has_its_own_tolerance() -> None:
    assert proposal(10, readings(*[1.15] * 10), up=0.2) == 10
    assert proposal(10, readings(*[1.15] * 10), up=0.1, down=0.2) == 12
    assert proposal(10, readings(*[0.85] * 10), down=0.2) == 10
    assert proposal(10, readings(*[0.85] * 10), up=0.2, down=0.1) == 9


def test_pods_that_start_count_as_idle_when_there_is_too_much_to_do() -> None:
    # Three at 150 % and three that start: 75 % would be a change of direction, so nothing happens.
    assert proposal(6, readings(1.5, 1.5, 1.5, ignored=3)) == 6
    # 300 %: still 150 % with the idle ones.
    assert proposal(6, readings(3, 3, 3, ignored=3)) == 9


def test_pods_that_start_do_not_count_when_there_is_too_little_to_do() -> None:
    assert proposal(6, readings(0.5, 0.5, 0.5, ignored=3)) == 2


def test_pods_without_a_value_count_as_idle_upwards_and_as_full_downwards() -> None:
    assert proposal(4, readings(2, 2, missing=2)) == 4
    assert proposal(4, readings(4, 4, missing=2)) == 8
    assert proposal(4, readings(0.2, 0.2, missing=2)) == 3  # (0.2 + 0.2 + 1 + 1) / 4 = 0.6
    # CPU at a target below 100 %: full is all of the request, which is above the target, so nothing happens.
    assert proposal(4, readings(0.5, 0.5, missing=2, missing_ratio=2.0)) == 4


def test_without_any_value_there_is_no_proposal_and_no_change() -> None:
    assert proposal(3, readings(missing=3)) is None
    assert Controller(SCALER).sync(0, 3, [readings(missing=3)]) == 3


def test_of_several_metrics_the_largest_proposal_counts() -> None:
    controller = Controller(SCALER)
    assert controller.sync(0, 2, [readings(1, 1), readings(3, 3)]) == 6


def test_an_unknown_metric_stops_the_way_down_and_not_the_way_up() -> None:
    unknown = readings(missing=4)
    assert Controller(SCALER).sync(0, 4, [unknown, readings(0.2, 0.2, 0.2, 0.2)]) == 4
    assert Controller(SCALER).sync(0, 4, [unknown, readings(2, 2, 2, 2)]) == 8


def test_the_bounds_hold() -> None:
    scaler = replace(SCALER, min_replicas=2, max_replicas=5)
    assert constant(Controller(scaler), 3, 9.0, 2) == [5, 5]
    assert constant(Controller(scaler), 3, 0.01, 2) == [2, 2]
    # Pods that somebody else made too many or too few are brought back whatever the metrics say.
    assert Controller(scaler).sync(0, 9, [readings(missing=9)]) == 5
    assert Controller(scaler).sync(0, 1, [readings(missing=1)]) == 2


def test_downwards_the_highest_of_the_window_counts() -> None:
    controller = Controller(replace(SCALER, down=replace(FREE_DOWN, window_seconds=300)))
    # What was there at the beginning counts as a recommendation of its own; it ages out after 300 s.
    assert constant(controller, 10, 0.5, 20) == [10] * 20
    assert controller.sync(300, 10, [Readings((0.5,) * 10)]) == 5


def test_upwards_the_lowest_of_the_window_counts() -> None:
    controller = Controller(replace(SCALER, up=replace(FREE_UP, window_seconds=60)))
    assert constant(controller, 2, 2.0, 4) == [2, 2, 2, 2]
    assert controller.sync(60, 2, [Readings((2.0, 2.0))]) == 4


def test_a_wave_within_the_window_costs_no_pods() -> None:
    controller = Controller(replace(SCALER, down=replace(FREE_DOWN, window_seconds=300)))
    replicas, seen = 10, set()
    for n in range(80):
        quiet = (n // 8) % 2 == 1
        replicas = controller.sync(n * SYNC_SECONDS, replicas, [Readings((0.5 if quiet else 1.0,) * replicas)])
        seen.add(replicas)
    assert seen == {10}


def test_downwards_ten_per_cent_or_four_pods_a_minute() -> None:
    # The documentation's example: 80 pods to 10, policies 4 pods and 10 per cent a minute, the larger change.
    policies = (Policy(False, 4, 60), Policy(True, 10, 60))
    scaler = replace(SCALER, min_replicas=10, down=Rules(0, Select.MAX, policies))
    controller, replicas, seen = Controller(scaler), 80, []
    for minute in range(20):
        replicas = controller.sync(minute * 60, replicas, [Readings((0.01,) * replicas)])
        seen.append(replicas)
    assert seen[:3] == [72, 64, 57]
    below = [n for n in seen if n <= 40]
    # From 40 on ten per cent is less than four pods.
    assert all(a - b == 4 for a, b in pairwise(below) if b > 10)
    assert seen[-1] == 10


def test_within_a_period_no_more_than_the_policy_allows() -> None:
    scaler = replace(SCALER, up=Rules(0, Select.MAX, (Policy(True, 100, 30), Policy(False, 2, 30))))
    # Two pods at once, nothing until the half minute is over, then as many again.
    assert constant(Controller(scaler), 1, 5.0, 5) == [3, 3, 6, 6, 12]


def test_the_smaller_policy_where_min_is_selected_and_none_where_disabled() -> None:
    policies = (Policy(True, 100, 60), Policy(False, 2, 60))
    least = replace(SCALER, up=Rules(0, Select.MIN, policies), down=Rules(0, Select.DISABLED, policies))
    assert Controller(least).sync(0, 10, [Readings((3.0,) * 10)]) == 12
    assert Controller(least).sync(0, 10, [Readings((0.1,) * 10)]) == 10


def test_pods_lost_within_the_period_may_come_back() -> None:
    scaler = replace(SCALER, up=Rules(0, Select.MAX, (Policy(False, 1, 60),)))
    controller = Controller(scaler)
    assert controller.sync(0, 10, [Readings((0.5,) * 10)]) == 5
    # A minute ago there were ten: one more than that is allowed.
    assert controller.sync(15, 5, [Readings((3.0,) * 5)]) == 11
