"""When the breaker lets through."""

import pytest

from gateway.store.breaker import Breaker


@pytest.fixture
def breaker():
    return Breaker(3)


def test_failures_in_a_row_open_it(breaker):
    assert breaker.closed
    assert [breaker.failure() for _ in range(4)] == [False, False, True, False]
    assert not breaker.closed


def test_a_success_between_begins_the_count_anew(breaker):
    for _ in range(5):
        breaker.failure()
        breaker.failure()
        assert not breaker.success()
    assert breaker.closed


def test_a_decisive_failure_opens_it_at_once(breaker):
    assert breaker.failure(at_once=True)
    assert not breaker.closed


def test_a_success_closes_it_and_the_count_begins_anew(breaker):
    breaker.failure(at_once=True)
    assert [breaker.success(), breaker.success()] == [True, False]
    assert breaker.closed
    assert [breaker.failure() for _ in range(3)] == [False, False, True]
