"""Turns: whose run is next. Nothing runs here; who has the CPUs gives them back by hand."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass

from serving.models.batching.turns import Turns


@dataclass(eq=False)
class Model:
    """Stands for a batcher."""

    name: str
    threads: int = 1
    company: int = 1
    rows: int = 1
    seconds: float = 0.01

    def waited(self) -> float:
        return self.seconds


class Order:
    """Who had a turn, in the order in which it came."""

    def __init__(self, cpus: int) -> None:
        self.turns = Turns(cpus)
        self.names: list[str] = []

    def ask(self, model: Model) -> asyncio.Task[None]:
        async def take() -> None:
            await self.turns.take(model)
            self.names.append(model.name)

        return asyncio.create_task(take())


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_runs_at_once_than_cpus() -> None:
    order, models = Order(2), [Model(name) for name in "abc"]
    tasks = [order.ask(model) for model in models]
    await settled()
    assert order.names == ["a", "b"]
    order.turns.give_back(models[0])
    await asyncio.gather(*tasks)
    assert order.names == ["a", "b", "c"]


async def test_whoever_ends_a_run_may_ask_for_the_next_before_others_get_it() -> None:
    order, first, gathering = Order(1), Model("first", seconds=1.0), Model("gathering", company=8)
    await order.turns.take(first)
    waits = order.ask(gathering)
    await settled()
    order.turns.give_back(first)
    await order.turns.take(first)
    assert order.names == []
    order.turns.give_back(first)
    await waits
    assert order.names == ["gathering"]


async def test_who_has_waited_longest_is_next() -> None:
    order, busy = Order(1), Model("busy")
    await order.turns.take(busy)
    tasks = [order.ask(Model("short", seconds=0.1)), order.ask(Model("long", seconds=0.2))]
    await settled()
    order.turns.give_back(busy)
    await settled()
    assert order.names == ["long"]
    for task in tasks:
        task.cancel()


async def test_rows_that_want_company_let_others_go_first_until_enough_are_there() -> None:
    order, busy = Order(1), Model("busy")
    few = Model("few", company=8, rows=7, seconds=0.01)
    many = Model("many", company=8, rows=8, seconds=0.01)
    await order.turns.take(busy)
    tasks = [order.ask(few), order.ask(Model("detector", seconds=0.5)), order.ask(many)]
    await settled()
    for name in ("many", "detector", "few"):
        order.turns.give_back(busy)
        await settled()
        assert order.names[-1] == name
    await asyncio.gather(*tasks)


async def test_rows_that_have_waited_a_fair_part_want_no_more_company() -> None:
    order, busy = Order(1), Model("busy")
    await order.turns.take(busy)
    tasks = [order.ask(Model("detector", seconds=0.4)), order.ask(Model("classifier", company=8, seconds=0.11))]
    await settled()
    order.turns.give_back(busy)
    await settled()
    assert order.names == ["classifier"]
    for task in tasks:
        task.cancel()


async def test_rows_that_want_company_do_not_wait_for_it_on_free_cpus() -> None:
    order = Order(2)
    await order.ask(Model("classifier", company=8))
    assert order.names == ["classifier"]


async def test_a_run_of_many_threads_is_not_overtaken_for_ever() -> None:
    order, first = Order(2), Model("first")
    await order.turns.take(first)
    wide, narrow = Model("wide", threads=16, seconds=0.2), Model("narrow", seconds=0.1)
    tasks = [order.ask(wide), order.ask(narrow)]
    await settled()
    assert order.names == []
    order.turns.give_back(first)
    await settled()
    assert order.names == ["wide"]
    order.turns.give_back(wide)
    await asyncio.gather(*tasks)


async def test_a_turn_that_nobody_waits_for_any_more_goes_to_the_next() -> None:
    order, busy, gone = Order(1), Model("busy"), Model("gone", seconds=1.0)
    await order.turns.take(busy)
    leaving, staying = order.ask(gone), order.ask(Model("staying"))
    await settled()
    order.turns.give_back(busy)
    leaving.cancel()
    await staying
    assert order.names == ["staying"]


async def test_a_model_that_has_no_turn_is_not_kept() -> None:
    turns, model = Turns(2), Model("replaced")
    await turns.take(model)
    turns.give_back(model)
    alive = weakref.ref(model)
    del model
    assert alive() is None


def test_a_model_splits_over_the_cpus_that_are_not_taken_by_others() -> None:
    async def run() -> None:
        turns, mine, other = Turns(4), Model("mine"), Model("other")
        assert turns.at_once(mine) == 4
        for _ in range(3):
            await turns.take(other)
        assert turns.at_once(mine) == 1
        await turns.take(mine)
        assert turns.at_once(mine) == 1

    asyncio.run(run())
