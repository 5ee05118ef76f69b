"""Several runs of one model at once: what waits is shared out among them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import pytest

from serving.errors import OverloadedError, ServiceError
from serving.models.backends.base import Rows
from serving.models.batching import turns
from serving.models.batching.result import BatchResult
from tests.circles import no_circles
from tests.serving import scarce
from tests.serving.models.batching.asking import Make, answer, ask, in_flight, queued, rows, settle, until
from tests.serving.models.batching.gated import POISON, GatedModel


async def test_concurrency_runs_two_batches_at_a_time(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=1, concurrency=2)
    tasks = [ask(batcher, i) for i in range(3)]
    await model.started()
    await model.started()
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(model.runs) == 2
    model.finish(3)
    assert sorted(answer(r)[0] for r in await asyncio.gather(*tasks)) == [0, 2, 4]


async def test_what_waits_is_shared_out_among_the_runs_made_at_once(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8, concurrency=2)
    first = [ask(batcher, 1), ask(batcher, 2)]
    assert [await model.started(), await model.started()] == [1, 1]
    waiting = [ask(batcher, value) for value in range(4)]
    await queued(batcher, 6)
    model.finish(1)
    assert await model.started() == 3, "half of the five that are there: four wait, one runs"
    model.finish(1)
    assert await model.started() == 1
    model.finish(2)
    answers = [answer(await settle(task)) for task in (*first, *waiting)]
    assert answers == [[2], [4], [0], [2], [4], [6]]


async def test_a_request_of_many_rows_that_is_alone_takes_every_run(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8, concurrency=2)
    task = ask(batcher, 1, 2, 3, 4, 5)
    assert sorted([await model.started(), await model.started()]) == [2, 3]
    model.finish(2)
    assert answer(await settle(task)) == [2, 4, 6, 8, 10]


async def test_a_row_that_breaks_its_part_fails_the_whole_request_once(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8, concurrency=2)
    task = ask(batcher, 1, 2, POISON, 4)
    await model.started()
    await model.started()
    model.finish(2)
    with pytest.raises(ServiceError, match="could not process"):
        await settle(task)
    await until(lambda: batcher.pending == 0)


@pytest.fixture
def spare_threads() -> Iterator[Callable[[int], None]]:
    """Says how many threads for runs, which have no name, the system has still to give."""
    with scarce.spare_threads(None) as spare:
        yield spare


async def test_a_system_without_a_thread_for_a_moment_costs_that_request_alone(
    model: GatedModel, make: Make, spare_threads: Callable[[int], None]
) -> None:
    batcher = make(max_batch=8)
    with pytest.raises(OverloadedError, match="no thread"):
        await settle(ask(batcher, 1))
    assert (batcher.pending, in_flight()) == (0, 0)
    spare_threads(1)
    model.finish(1)
    assert answer(await settle(ask(batcher, 2))) == [4]


async def test_where_no_further_thread_can_be_started_those_there_run_all(
    model: GatedModel, make: Make, spare_threads: Callable[[int], None]
) -> None:
    batcher = make(max_batch=1, concurrency=2)
    spare_threads(1)
    tasks = [ask(batcher, value) for value in range(3)]
    await model.started()
    model.finish(3)
    assert [answer(await settle(task)) for task in tasks] == [[0], [2], [4]]


async def test_a_thread_that_never_begins_holds_nobody_up_and_the_next_one_takes_its_run(
    model: GatedModel, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_BEGIN_SECONDS", 0.0)
    asked = time.monotonic()
    with scarce.no_memory():
        batcher = make(max_batch=1)
        first = ask(batcher, 1)
        await queued(batcher, 1)
        waited = time.monotonic() - asked
    model.finish(2)
    async with asyncio.timeout(scarce.SECONDS):
        done = await asyncio.gather(first, ask(batcher, 2))
    assert [answer(result) for result in done] == [[2], [4]]
    assert waited < scarce.SECONDS, "the event loop waited for a thread"


@pytest.mark.parametrize("seed", range(3))
async def test_nobody_is_left_behind_by_many_who_come_and_leave_in_any_turn(make: Make, seed: int) -> None:
    chance = random.Random(seed)

    def run(values: Rows) -> dict[str, Rows]:
        time.sleep(chance.random() / 2000)
        if (values == POISON).any():
            raise RuntimeError("a row that the model cannot digest")
        return {"y": values * 2}

    batcher = make(run, max_batch=4, concurrency=2, max_queue=20)
    tasks: list[asyncio.Task[BatchResult]] = []
    for _ in range(200):
        for _ in range(chance.randrange(3)):
            values = [chance.choice((1.0, 2.0, POISON)) for _ in range(chance.randint(1, 6))]
            late = time.monotonic() + chance.choice((0.001, 60))
            tasks.append(asyncio.create_task(batcher.submit(rows(*values), late)))
        for task in tasks:
            if chance.random() < 0.1:
                task.cancel()
        await asyncio.sleep(chance.choice((0, 0, 0.001)))
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, BatchResult | ServiceError | asyncio.CancelledError), outcome
    await until(lambda: batcher.pending == 0)
    assert in_flight() == 0
    assert answer(await settle(ask(batcher, 3))) == [6]


async def test_a_request_whose_part_breaks_is_let_go_of_at_once(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8, concurrency=2)
    with no_circles(ServiceError):
        for _ in range(3):
            task = ask(batcher, 1, 2, POISON, 4)
            await model.started()
            await model.started()
            model.finish(2)
            with pytest.raises(ServiceError):
                await settle(task)
            del task
            await until(lambda: not batcher.pending)
