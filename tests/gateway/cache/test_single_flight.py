"""One computation for all who ask at the same time."""

import asyncio
import random
import time

import pytest

from gateway.cache import single_flight
from gateway.cache.single_flight import SingleFlight
from serving.errors import DeadlineError, UnavailableError
from serving.rpc.context import RequestContext, current
from tests.circles import no_circles


class Work:
    """A computation that waits for `gate` and counts its runs."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.contexts = []
        self.cancelled = 0
        self.error = None

    async def __call__(self):
        self.contexts.append(current.get())
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return len(self.contexts)


class Patient(dict):
    """Ends whoever looks again and again without letting others go first."""

    looks = 0

    def get(self, key, default=None):
        self.looks += 1
        assert self.looks < 1000, "looks for ever"
        return super().get(key, default)


async def good():
    return "good"


@pytest.fixture
async def work():
    return Work()


@pytest.fixture
async def flights():
    return SingleFlight()


def call(flights, work, key=b"k", seconds=None, name="request"):
    async def run():
        if seconds is not None:
            current.set(RequestContext(name, time.monotonic() + seconds))
        return await flights.run(key, work)

    return asyncio.create_task(run())


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_once_for_all(flights, work):
    calls = [call(flights, work) for _ in range(5)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [(1, False)] + [(1, True)] * 4


async def test_other_keys_and_later_calls_are_computed_anew(flights, work):
    work.gate.set()
    assert await call(flights, work) == (1, False)
    assert await call(flights, work) == (2, False)
    assert await call(flights, work, b"other") == (3, False)


async def test_a_failure_goes_to_all_and_is_forgotten(flights, work):
    work.error = UnavailableError("no")
    calls = [call(flights, work) for _ in range(3)]
    await settle()
    work.gate.set()
    assert [type(r) for r in await asyncio.gather(*calls, return_exceptions=True)] == [UnavailableError] * 3
    work.error = None
    assert await call(flights, work) == (2, False)


async def test_it_survives_those_who_leave_until_the_last(flights, work):
    calls = [call(flights, work) for _ in range(3)]
    await settle()
    calls[0].cancel()
    calls[1].cancel()
    await settle()
    assert work.cancelled == 0
    calls[2].cancel()
    await settle()
    assert work.cancelled == 1


async def test_who_comes_after_the_last_has_left_begins_anew(flights, work):
    first = call(flights, work)
    await settle()
    first.cancel()
    second = call(flights, work)
    await settle()
    work.gate.set()
    assert await second == (2, False)


async def test_it_runs_in_the_context_of_the_first(flights, work):
    calls = [call(flights, work, seconds=10, name="first"), call(flights, work, seconds=20, name="second")]
    await settle()
    work.gate.set()
    await asyncio.gather(*calls)
    assert [context.request_id for context in work.contexts] == ["first"]


async def test_when_the_firsts_time_is_up_it_goes_on_once_for_the_others(flights, work):
    first = call(flights, work, seconds=0.3)
    await settle()
    others = [call(flights, work, seconds=seconds) for seconds in (20, 30, 25)]
    with pytest.raises(DeadlineError):
        await first
    await settle()
    work.gate.set()
    assert [result for result, _ in await asyncio.gather(*others)] == [2, 2, 2]
    assert work.contexts[1].remaining() > 25, "the latest deadline of all"
    assert work.cancelled == 1


async def test_whoever_comes_in_the_turn_in_which_its_time_is_up_begins_anew(flights, work):
    work.error = DeadlineError("late")
    first = call(flights, work, seconds=10)
    await settle()
    work.gate.set()
    flights._flights = Patient(flights._flights)
    second = call(flights, good, seconds=20)
    with pytest.raises(DeadlineError):
        await first
    assert await second == ("good", False)


@pytest.fixture
async def lacking(monkeypatch):
    """Of flights whose first result lacks something; their later ones do not. Thirty seconds are little time."""
    monkeypatch.setattr(single_flight, "_SHORT_SECONDS", 30)
    return SingleFlight(lambda result: result == 1)


async def test_who_has_much_more_time_asks_once_more_for_what_the_first_had_no_time_for(lacking, work):
    first = call(lacking, work, seconds=20)
    await settle()
    others = [call(lacking, work, seconds=seconds) for seconds in (200, 21, 300)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(first, *others) == [(1, False), (2, False), (1, True), (2, True)]
    assert work.contexts[1].remaining() > 250, "the latest deadline of all"


async def test_asking_once_more_can_be_told_from_asking_first(lacking, work):
    async def again():
        await work()
        return "again"

    async def run(seconds):
        current.set(RequestContext("request", time.monotonic() + seconds))
        return await lacking.run(b"k", work, again)

    calls = [asyncio.create_task(run(seconds)) for seconds in (20, 200, 300)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [(1, False), ("again", False), ("again", True)]


@pytest.mark.parametrize("seconds", [(50, 300), (20, 30), (20, 20)])
async def test_where_time_was_not_the_reason_or_is_no_longer_nobody_asks_again(lacking, work, seconds):
    calls = [call(lacking, work, seconds=most) for most in seconds]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [(1, False), (1, True)]
    assert len(work.contexts) == 1


async def test_nobody_asks_a_third_time(lacking, work):
    lacking._lacks = lambda _result: True
    calls = [call(lacking, work, seconds=seconds) for seconds in (20, 200, 300)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [(1, False), (2, False), (2, True)]


async def test_who_holds_a_result_gives_it_before_the_time_is_up(lacking, work, monkeypatch):
    monkeypatch.setattr(single_flight, "_SHORT_SECONDS", 23)
    calls = [call(lacking, work, seconds=seconds) for seconds in (12, 25, 300)]
    await settle()
    work.gate.set()
    assert await calls[0] == (1, False)
    work.gate.clear()  # a model hangs, and the time of the patient one goes on
    assert await calls[1] == (1, True)
    assert not calls[2].done()
    work.gate.set()
    assert await calls[2] == (2, True)


@pytest.mark.parametrize("error", [DeadlineError("late"), UnavailableError("no")])
async def test_what_lacks_something_is_better_than_an_error(lacking, work, error):
    async def once():
        result = await work()
        if result > 1:
            raise error
        return result

    calls = [call(lacking, once, seconds=seconds) for seconds in (20, 200)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*calls) == [(1, False), (1, True)]
    assert len(work.contexts) == 2
    await settle()
    assert not lacking._flights


async def test_nobody_is_left_behind(flights, work):
    work.gate.set()
    await call(flights, work)
    assert not flights._flights


@pytest.mark.parametrize("seed", range(5))
async def test_nobody_is_left_behind_by_many_who_come_and_leave_in_any_turn(flights, seed):
    chance = random.Random(seed)
    flights._flights = Patient()

    async def compute():
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            raise DeadlineError("late")
        return "good"

    calls = []
    for _ in range(200):
        calls += [call(flights, compute, seconds=chance.randint(10, 20)) for _ in range(chance.randrange(3))]
        for one in calls:
            if chance.random() < 0.1:
                one.cancel()
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        flights._flights.looks = 0
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, tuple | DeadlineError | asyncio.CancelledError), outcome
    await settle()
    assert not flights._flights
    assert await call(flights, good) == ("good", False)


async def test_what_a_computation_out_of_time_was_asked_with_is_let_go_of_at_once():
    flights = SingleFlight()
    token = current.set(RequestContext("late", time.monotonic() + 0.05))
    try:
        with no_circles((DeadlineError, TimeoutError)):
            with pytest.raises(DeadlineError):
                await flights.run(b"key", Work())
            await asyncio.sleep(0)
    finally:
        current.reset(token)
