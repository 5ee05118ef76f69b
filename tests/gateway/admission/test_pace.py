"""Under more load than can be answered, those are let in whose time suffices; nobody else is ever refused."""

from __future__ import annotations

import heapq
from collections import Counter
from types import SimpleNamespace

import pytest

from gateway.admission import pace as module
from gateway.admission.pace import Pace

EACH = 0.05
"""Seconds that the one who works needs for an image."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def queue(
    clock: list[float], pace: Pace, arrivals: list[float], deadline: float, idle_until: float = 0.0
) -> Counter[str]:
    """What becomes of calls that are worked on one after the other, each until its caller has gone."""
    free_at, said = idle_until, Counter[str]()
    ends: list[tuple[float, int, float, bool]] = []
    for now in arrivals:
        clock[0] = 100 + now
        while ends and ends[0][0] <= now:
            at, images, began, answered = heapq.heappop(ends)
            pace.learn(images, at - began, answered=answered)
        images = len(ends) + 1
        if pace.excess(images, deadline) > 0:
            said["refused"] += 1
            continue
        start = max(free_at, now)
        answered = start + EACH <= now + deadline
        # Who has gone before his turn comes costs nothing; who goes in the middle of it costs it.
        free_at = start + EACH if start < now + deadline else free_at
        said["answered" if answered else "late"] += 1
        heapq.heappush(ends, (start + EACH if answered else now + deadline, images, now, answered))
    return said


def every(seconds: float, start: float, end: float) -> list[float]:
    return [start + i * seconds for i in range(int((end - start) / seconds))]


def test_five_times_as_much_as_can_be_answered_is_refused_and_not_kept_waiting(clock: list[float]) -> None:
    pace = Pace()
    queue(clock, pace, every(EACH / 5, 0, 5), 1.0)
    said = queue(clock, pace, every(EACH / 5, 5, 25), 1.0)
    assert said["answered"] >= 0.95 * 20 / EACH
    assert said["late"] <= 0.02 * said["answered"]


@pytest.mark.parametrize(("load", "deadline"), [(0.8, 1.0), (5, 600)])
def test_who_has_time_is_never_refused(load: float, deadline: float, clock: list[float]) -> None:
    assert set(queue(clock, Pace(), every(EACH / load, 0, 20), deadline)) == {"answered"}


def test_what_a_short_stop_has_left_waiting_is_answered_and_not_refused(clock: list[float]) -> None:
    pace = Pace()
    for _ in range(100):
        pace.learn(10, 10 * EACH, answered=True)
    assert set(queue(clock, pace, every(EACH / 0.8, 0, 10), 1.0)) == {"answered"}
    assert set(queue(clock, pace, every(EACH / 0.8, 10, 20), 1.0, idle_until=10.6)) == {"answered"}


def test_more_is_let_in_shortly_after_a_call_was_alone(clock: list[float]) -> None:
    pace = Pace()
    for _ in range(100):
        pace.learn(10, 1, answered=True)
    assert pace.excess(7, 1.0) == pytest.approx(0.2)
    assert pace.excess(1, 1.0) == 0
    clock[0] += 1
    assert pace.excess(7, 1.0) == pytest.approx(-0.1)
    clock[0] += 1
    assert pace.excess(7, 1.0) == pytest.approx(0.2)


def test_an_outage_that_is_over_keeps_nobody_out(clock: list[float]) -> None:
    pace = Pace()
    assert set(queue(clock, pace, every(EACH / 0.4, 0, 10), 20.0)) == {"answered"}
    assert set(queue(clock, pace, every(EACH / 0.4, 10, 40), 20.0, idle_until=15)) == {"answered"}


def test_that_all_were_slow_is_forgotten() -> None:
    pace = Pace()
    for _ in range(100):
        pace.learn(10, 100, answered=True)
    assert pace.excess(3, 1.0) > 0
    assert pace.excess(2, 1.0) == 0
    for _ in range(200):
        pace.learn(2, 0.1, answered=True)
    assert pace.excess(5, 1.0) <= 0


def test_while_calls_wait_for_something_else_nobody_is_refused(clock: list[float]) -> None:
    pace = Pace()
    for _ in range(100):
        pace.learn(10, 1, answered=True)
    assert pace.excess(10, 1.0) > 0
    pace.disturb()
    assert pace.excess(10, 1.0) == 0
    for _ in range(100):
        pace.learn(10, 100, answered=True)
    clock[0] += 10
    assert 0 < pace.excess(10, 1.0) < 1


def test_nothing_is_foreseen_by_a_few_calls_or_by_callers_in_a_hurry() -> None:
    pace = Pace()
    for _ in range(19):
        pace.learn(10, 100, answered=True)
    assert pace.excess(100, 1.0) == 0
    pace = Pace()
    for _ in range(100):
        pace.learn(10, 1, answered=True)
        pace.learn(10, 0.001, answered=False)
    assert pace.excess(10, 1.2) == pytest.approx(1 - 0.5 * 1.2)
