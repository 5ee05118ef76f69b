"""Large images take turns; nobody jumps the queue, and the queue is bounded."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serving.budget import Budget
from serving.errors import OverloadedError
from tests.serving.scarce import spare_threads


class Holder:
    """Holds pixels from a task of its own until told to let go."""

    def __init__(self, budget: Budget, pixels: int) -> None:
        self.holding = asyncio.Event()
        self._release = asyncio.Event()
        self.task = asyncio.create_task(self._hold(budget, pixels))

    async def _hold(self, budget: Budget, pixels: int) -> None:
        async with budget.hold(pixels):
            self.holding.set()
            await self._release.wait()

    async def let_go(self) -> None:
        self._release.set()
        await self.task


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_fits_is_held_at_once_and_the_rest_waits_in_order() -> None:
    budget = Budget(100, max_waiting=10, what="images")
    first, second = Holder(budget, 60), Holder(budget, 40)
    large, small = Holder(budget, 80), Holder(budget, 10)
    await settle()
    assert first.holding.is_set()
    assert second.holding.is_set()
    assert not large.holding.is_set()
    assert not small.holding.is_set()  # it would fit later, but the large one came first
    await second.let_go()
    await settle()
    assert not large.holding.is_set()
    await first.let_go()
    await settle()
    assert large.holding.is_set()
    assert small.holding.is_set()
    await large.let_go()
    await small.let_go()


async def test_one_that_leaves_in_the_turn_in_which_room_is_made_takes_none_of_it() -> None:
    budget = Budget(100, max_waiting=10, what="images")
    first, leaving, next_one = (Holder(budget, 100) for _ in range(3))
    await settle()
    first._release.set()
    leaving.task.cancel()
    await first.task
    await settle()
    assert leaving.task.cancelled()
    assert not leaving.holding.is_set()
    assert next_one.holding.is_set()
    await next_one.let_go()
    last = Holder(budget, 100)
    await settle()
    assert last.holding.is_set()
    await last.let_go()


async def test_an_image_beyond_the_budget_is_held_alone() -> None:
    budget = Budget(100, max_waiting=10, what="images")
    small = Holder(budget, 1)
    huge = Holder(budget, 10_000)
    await settle()
    assert not huge.holding.is_set()
    await small.let_go()
    await settle()
    assert huge.holding.is_set()
    await huge.let_go()


async def test_a_cancelled_wait_lets_those_behind_it_pass() -> None:
    budget = Budget(100, max_waiting=10, what="images")
    first, large, small = Holder(budget, 50), Holder(budget, 100), Holder(budget, 50)
    await settle()
    large.task.cancel()
    await settle()
    assert small.holding.is_set()
    await first.let_go()
    await small.let_go()


async def test_a_wait_cancelled_in_its_very_turn_gives_its_pixels_back() -> None:
    budget = Budget(100, max_waiting=10, what="images")
    first, second = Holder(budget, 100), Holder(budget, 100)
    await settle()
    first._release.set()
    while not first.task.done():
        await asyncio.sleep(0)
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    third = Holder(budget, 100)
    await settle()
    assert third.holding.is_set()
    await third.let_go()


async def test_the_queue_is_bounded() -> None:
    budget = Budget(100, max_waiting=1, what="images")
    first, second = Holder(budget, 100), Holder(budget, 100)
    await settle()
    with pytest.raises(OverloadedError):
        async with budget.hold(1):
            pass
    await first.let_go()
    await second.let_go()


async def test_what_waits_may_not_hold_more_than_its_bound() -> None:
    budget = Budget(100, max_waiting=10, what="images", max_burden=5)
    first = Holder(budget, 100)
    await settle()
    second = asyncio.create_task(enter(budget, 10, burden=9))  # more than the bound, but alone
    await settle()
    with pytest.raises(OverloadedError):
        async with budget.hold(1, burden=1):
            pass
    await first.let_go()
    await second
    async with budget.hold(100, burden=9):
        third = asyncio.create_task(enter(budget, 1, burden=5))
        await settle()
    await third


async def enter(budget: Budget, units: int, *, burden: int = 0, again: bool = False) -> None:
    async with budget.hold(units, burden, again=again):
        pass


async def test_a_request_that_comes_again_is_next_and_never_refused() -> None:
    budget = Budget(100, max_waiting=1, what="images")
    order: list[str] = []

    async def enter_as(name: str, *, again: bool) -> None:
        async with budget.hold(100, again=again):
            order.append(name)

    async with budget.hold(100):
        waiting = asyncio.create_task(enter_as("new", again=False))
        await settle()
        returning = asyncio.create_task(enter_as("again", again=True))
        await settle()
    await asyncio.gather(waiting, returning)
    assert order == ["again", "new"]


async def test_what_is_given_back_early_lets_the_next_in() -> None:
    budget = Budget(100, max_waiting=1, what="images")
    async with budget.hold(90) as lease:
        other = Holder(budget, 60)
        await settle()
        assert not other.holding.is_set()
        lease.shrink(40)
        await settle()
        assert other.holding.is_set()
        await other.let_go()
    async with asyncio.timeout(5):
        await enter(budget, 100)


async def test_units_of_a_cancelled_task_are_held_until_its_thread_is_done() -> None:
    budget = Budget(100, max_waiting=1, what="images")
    started, go_on = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(10)

    async def decode(pool: ThreadPoolExecutor) -> None:
        async with budget.hold(100) as lease:
            await lease.run(pool, work)

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(decode(pool))
        while not started.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other = Holder(budget, 1)
        await settle()
        assert not other.holding.is_set()
        go_on.set()
        async with asyncio.timeout(5):
            await other.holding.wait()
        await other.let_go()


async def test_work_of_who_leaves_before_a_thread_comes_to_it_is_let_go_of_with_its_units() -> None:
    class Picture:
        """Unlike bytes it can be seen to go."""

    budget, go_on = Budget(100, max_waiting=1, what="images"), threading.Event()
    picture = Picture()
    lies_there = weakref.ref(picture)

    async def look(picture: Picture) -> None:
        async with budget.hold(100) as lease:
            await lease.run(pool, id, picture)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait, 60)
        leaving = asyncio.create_task(look(picture))
        del picture
        await settle()
        assert lies_there() is not None
        leaving.cancel()
        await asyncio.wait({leaving})
        del leaving
        gc.collect()
        found = lies_there()
        go_on.set()
    assert found is None


async def test_work_that_no_thread_could_be_started_for_never_runs() -> None:
    budget = Budget(100, max_waiting=1, what="images")
    ran: list[str] = []
    go_on = threading.Event()

    async def look(pool: ThreadPoolExecutor) -> None:
        async with budget.hold(40) as lease:
            assert await lease.run(pool, go_on.wait, 10)

    with ThreadPoolExecutor(2) as pool:
        first = asyncio.create_task(look(pool))
        await settle()
        with spare_threads(), pytest.raises(OverloadedError):
            async with budget.hold(60) as lease:
                await lease.run(pool, ran.append, "refused")
        other = Holder(budget, 60)
        await settle()
        assert other.holding.is_set()
        go_on.set()
        await first
        await other.let_go()
        async with budget.hold(100) as lease:
            await lease.run(pool, ran.append, "next")
    assert ran == ["next"]


async def test_work_that_a_thread_took_though_no_further_one_could_be_started_is_waited_for() -> None:
    class Taken(ThreadPoolExecutor):
        def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Any:
            super().submit(work, *args, **kwargs).result()
            raise RuntimeError("can't start new thread")

    budget = Budget(100, max_waiting=1, what="images")
    with Taken(1) as pool:
        async with budget.hold(100) as lease:
            assert await lease.run(pool, str, 7) == "7"


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_stays_held_after_many_who_come_and_leave_in_any_turn(seed: int) -> None:
    chance = random.Random(seed)
    budget = Budget(100, max_waiting=10, what="images", max_burden=100)
    held = 0

    async def one() -> None:
        nonlocal held
        units = chance.randint(1, 60)
        async with budget.hold(units, chance.randint(0, 20), again=chance.random() < 0.2) as lease:
            held += units
            try:
                assert held <= 100
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                held -= units
            if chance.random() < 0.3:
                lease.shrink(chance.randint(0, 30))
            if chance.random() < 0.3:
                await lease.run(pool, time.sleep, chance.random() / 2000)

    tasks: list[asyncio.Task[None]] = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(200):
            tasks += [asyncio.create_task(one()) for _ in range(chance.randrange(3))]
            for task in tasks:
                if chance.random() < 0.1:
                    task.cancel()
            await asyncio.sleep(chance.choice((0, 0, 0.0005)))
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, OverloadedError | asyncio.CancelledError), outcome
    await settle()
    last = Holder(budget, 100)
    await settle()
    assert last.holding.is_set()
    await last.let_go()
