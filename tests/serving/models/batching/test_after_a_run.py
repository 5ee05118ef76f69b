"""What a caller wants done with its outputs is done on the thread of the run."""

from __future__ import annotations

import asyncio
import threading
import weakref

import pytest

from serving.models.backends.base import Rows
from serving.models.batching.result import Outputs
from tests.serving.models.batching.asking import LATER, Make, answer, ask, queued, rows
from tests.serving.models.batching.gated import GatedModel


async def test_what_comes_after_a_run_is_done_on_its_thread_with_the_rows_of_each_request(
    model: GatedModel, make: Make
) -> None:
    runs, threads = set[int](), set[int]()

    def run(values: Rows) -> Outputs:
        runs.add(threading.get_ident())
        return model(values)

    def total(outputs: Outputs) -> float:
        threads.add(threading.get_ident())
        return float(outputs["y"].sum())

    batcher = make(run, max_batch=8)
    first = asyncio.create_task(batcher.submit(rows(0), LATER, total))
    await model.started()
    others = [asyncio.create_task(batcher.submit(rows(*values), LATER, total)) for values in ((1, 2), (3,))]
    await queued(batcher, 3)
    model.finish(2)
    done = await asyncio.gather(first, *others)
    assert [result.finished for result in done] == [sum(answer(result)) for result in done] == [0, 6, 6]
    assert threads == runs
    assert len(runs) == 1


async def test_an_error_after_a_run_is_that_of_one_request_alone(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)

    def fail(outputs: Outputs) -> None:
        raise KeyError("no such output")

    first = ask(batcher, 0)
    await model.started()
    broken, other = asyncio.create_task(batcher.submit(rows(1), LATER, fail)), ask(batcher, 2)
    await queued(batcher, 3)
    model.finish(2)
    with pytest.raises(KeyError):
        await broken
    assert answer(await first) == [0]
    assert answer(await other) == [4]


async def test_a_request_that_is_split_leaves_it_to_its_caller_what_comes_after(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=1)
    model.finish(2)
    result = await batcher.submit(rows(1, 2), LATER, lambda outputs: "done")
    assert answer(result) == [2, 4]
    assert result.finished is None


async def test_who_gives_up_lets_go_of_what_was_to_come_after_the_run(model: GatedModel, make: Make) -> None:
    class Picture:
        def look(self, outputs: Outputs) -> None: ...

    batcher = make(max_batch=8)
    picture = Picture()
    held = weakref.ref(picture)
    task = asyncio.create_task(batcher.submit(rows(0), LATER, picture.look))
    await model.started()
    del picture
    assert held() is not None
    task.cancel()
    await asyncio.wait([task])
    del task
    assert held() is None, "though the run goes on"
