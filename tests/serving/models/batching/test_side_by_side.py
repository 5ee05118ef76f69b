"""Several runs of one model at once: what waits is shared out among them."""

from __future__ import annotations

import asyncio

import pytest

from serving.errors import ServiceError
from tests.serving.models.batching.asking import Make, answer, ask, queued, settle, until
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
