"""Large images take turns; nobody jumps the queue, and the queue is bounded."""

from __future__ import annotations

import asyncio

import pytest

from serving.budget import Budget
from serving.errors import OverloadedError


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
