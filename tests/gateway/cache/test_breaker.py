"""When the breaker lets through."""

import pytest

from gateway.cache.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(3, 10, clock)


def test_failures_in_a_row_open_it(breaker):
    assert [breaker.failure() for _ in range(3)] == [False, False, True]
    assert not breaker.closed
    assert not breaker.allow()


def test_a_success_between_begins_the_count_anew(breaker):
    for _ in range(5):
        breaker.failure()
        breaker.failure()
        assert not breaker.success()
    assert breaker.closed


def test_a_decisive_failure_opens_it_at_once(breaker):
    assert breaker.failure(at_once=True)
    assert not breaker.allow()


def test_one_attempt_per_interval_while_open(breaker, clock):
    breaker.failure(at_once=True)
    clock.now = 10
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    # Nobody said how the attempt ended; the next interval has its own.
    clock.now = 20
    assert [breaker.allow() for _ in range(3)] == [True, False, False]


def test_the_attempt_decides(breaker, clock):
    breaker.failure(at_once=True)
    clock.now = 10
    breaker.allow()
    assert not breaker.failure()
    assert not breaker.allow()
    clock.now = 20
    breaker.allow()
    assert breaker.success()
    assert breaker.closed
    assert breaker.allow()
