"""The micro-batcher, run by run: every run waits at a gate that the test opens, so nothing depends on timing."""

from __future__ import annotations

import asyncio
import time

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.errors import DeadlineError, OverloadedError, ServiceError, UnavailableError
from serving.telemetry import tracing
from tests.serving.models.batching.asking import LATER, Make, answer, ask, in_flight, queued, rows, settle, until
from tests.serving.models.batching.gated import POISON, GatedModel


async def test_an_idle_model_runs_at_once_however_long_it_may_wait(model: GatedModel, make: Make) -> None:
    batcher = make(max_wait=3600, max_batch=8)
    task = ask(batcher, 1)
    assert await model.started() == 1
    model.finish()
    assert answer(await settle(task)) == [2]


async def test_what_arrives_during_a_run_forms_one_batch_in_order(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 1)
    await model.started()
    others = [ask(batcher, 2), ask(batcher, 3, 4), ask(batcher, 5)]
    await queued(batcher, 4)
    model.finish()
    assert await model.started() == 4
    model.finish()
    assert [answer(r) for r in await asyncio.gather(*others)] == [[4], [6, 8], [10]]
    assert model.runs[1][:, 0].tolist() == [2, 3, 4, 5]
    assert answer(await first) == [2]


async def test_rows_that_do_not_lie_in_order_or_are_of_another_type_keep_their_values(
    model: GatedModel, make: Make
) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 0)
    await model.started()
    columns = np.arange(6, dtype=np.float32).reshape(3, 2).T
    bytes_ = np.full((1, 3), 200, np.uint8)
    others = [asyncio.create_task(batcher.submit(given, LATER)) for given in (columns, bytes_, columns[::-1])]
    await queued(batcher, 4)
    model.finish(2)
    await asyncio.gather(first, *others)
    assert model.runs[1].tolist() == [[0, 2, 4], [1, 3, 5], [200, 200, 200], [1, 3, 5], [0, 2, 4]]


async def test_max_batch_counts_rows_and_requests_stay_whole(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=4)
    tasks = [ask(batcher, 0)]
    await model.started()
    tasks += [ask(batcher, 1, 1), ask(batcher, 2), ask(batcher, 3, 3), ask(batcher, 4)]
    await queued(batcher, 5)
    model.finish(3)
    assert await model.started() == 3
    assert await model.started() == 3
    await asyncio.gather(*tasks)


async def test_a_large_request_is_split_over_runs_and_put_together_again(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=4)
    task = ask(batcher, *range(10))
    model.finish(3)
    result = await settle(task)
    assert answer(result) == [2 * i for i in range(10)]
    assert [len(run) for run in model.runs] == [4, 4, 2]


async def test_a_large_request_fails_whole_when_a_part_fails(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=2)
    task = ask(batcher, 1, 1, POISON, 1, 1, 1)
    model.finish(20)
    with pytest.raises(ServiceError):
        await settle(task)
    await until(lambda: batcher.pending == 0)
    assert in_flight() == 0


async def test_a_busy_model_waits_for_its_next_batch_until_it_is_full(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=3, max_wait=3600)
    tasks = [ask(batcher, 0)]
    await model.started()
    tasks.append(ask(batcher, 1))
    await queued(batcher, 2)
    model.finish()
    await settle(tasks[0])
    for _ in range(100):  # the worker has every chance to start the next run too early
        await asyncio.sleep(0)
    assert len(model.runs) == 1
    tasks.append(ask(batcher, 2, 2))
    assert await model.started() == 3
    model.finish()
    await asyncio.gather(*tasks)


async def test_a_busy_model_waits_no_longer_than_max_wait(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=100, max_wait=0.02)
    tasks = [ask(batcher, 0)]
    await model.started()
    tasks.append(ask(batcher, 1))
    await queued(batcher, 2)
    model.finish()
    assert await model.started() == 1
    model.finish()
    await asyncio.gather(*tasks)


async def test_a_full_queue_refuses_and_says_when_to_come_back(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=1, max_queue=2)
    tasks = [ask(batcher, 0)]
    await model.started()
    tasks += [ask(batcher, 1), ask(batcher, 2)]
    await queued(batcher, 3)
    with pytest.raises(OverloadedError) as refused:
        await batcher.submit(rows(3), LATER)
    assert refused.value.retry_after == pytest.approx(2 * 0.05)  # runs; what one lasts is a guess before one has ended
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    model.finish(3)
    assert [answer(r) for r in await asyncio.gather(*tasks)] == [[0], [2], [4]]


async def test_the_time_to_come_back_counts_runs_and_not_requests(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=16, max_queue=32)
    tasks = [ask(batcher, 0)]
    await model.started()
    tasks += [ask(batcher, 1) for _ in range(32)]
    await queued(batcher, 33)
    with pytest.raises(OverloadedError) as refused:
        await batcher.submit(rows(3), LATER)
    assert refused.value.retry_after == pytest.approx(2 * 0.05)
    model.finish(10)
    await asyncio.gather(*tasks)


async def test_an_expired_request_never_runs(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 0)
    await model.started()
    expired = ask(batcher, 1, deadline=time.monotonic() - 1)
    alive = ask(batcher, 2)
    await queued(batcher, 3)
    model.finish(2)
    with pytest.raises(DeadlineError):
        await settle(expired)
    assert answer(await settle(alive)) == [4]
    await first
    assert [run[:, 0].tolist() for run in model.runs] == [[0], [2]]


async def test_a_cancelled_request_never_runs_and_frees_its_place(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8, max_queue=1)
    first = ask(batcher, 0)
    await model.started()
    gone = ask(batcher, 1)
    await queued(batcher, 2)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert batcher.pending == 1
    other = ask(batcher, 2)
    await queued(batcher, 2)
    model.finish(2)
    assert answer(await settle(other)) == [4]
    await first
    assert [run[:, 0].tolist() for run in model.runs] == [[0], [2]]


async def test_a_large_request_takes_one_place_in_the_queue(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=1, max_queue=2)
    first = ask(batcher, 0)
    await model.started()
    large, small = ask(batcher, 1, 2, 3, 4, 5), ask(batcher, 6)
    await queued(batcher, 3)
    model.finish(7)
    assert answer(await settle(large)) == [2, 4, 6, 8, 10]
    assert answer(await settle(small)) == [12]
    await first
    assert [run[0, 0] for run in model.runs] == [0, 1, 6, 2, 3, 4, 5]  # small did not wait for all of large


async def test_cancelling_a_large_request_ends_all_its_parts(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=2)
    first = ask(batcher, 0)
    await model.started()
    large = ask(batcher, 1, 1, 1, 1, 1)
    await queued(batcher, 2)
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
    await until(lambda: batcher.pending == 1)
    model.finish()
    await settle(first)
    assert len(model.runs) == 1


async def test_cancellation_during_a_run_leaves_batch_mates_their_answers(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 0)
    await model.started()
    gone, stays = ask(batcher, 1), ask(batcher, 2)
    await queued(batcher, 3)
    model.finish()
    await model.started()
    gone.cancel()
    model.finish()
    assert answer(await settle(stays)) == [4]
    assert gone.cancelled()
    await first


async def test_a_failed_run_fails_only_the_request_that_broke_it(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 0)
    await model.started()
    mates = [ask(batcher, 1), ask(batcher, POISON), ask(batcher, 3)]
    await queued(batcher, 4)
    model.finish(5)
    outcomes = await asyncio.gather(*mates, return_exceptions=True)
    assert answer(outcomes[0]) == [2]  # type: ignore[arg-type]
    assert isinstance(outcomes[1], ServiceError)
    assert "digest" not in str(outcomes[1])
    assert answer(outcomes[2]) == [6]  # type: ignore[arg-type]
    assert [len(run) for run in model.runs] == [1, 3, 1, 1, 1]
    await first


async def test_after_a_failed_run_the_dead_are_not_repeated(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 0)
    await model.started()
    deadline = time.monotonic() + 1
    bad, gone, late = ask(batcher, POISON), ask(batcher, 2), ask(batcher, 3, deadline=deadline)
    await queued(batcher, 4)
    model.finish()
    assert await model.started() == 3
    gone.cancel()
    await until(lambda: time.monotonic() > deadline)
    model.finish(10)
    outcomes = await asyncio.gather(bad, late, return_exceptions=True)
    assert isinstance(outcomes[0], ServiceError)
    assert isinstance(outcomes[1], DeadlineError)
    assert [len(run) for run in model.runs] == [1, 3, 1]
    await first


async def test_mates_of_another_shape_do_not_harm_each_other(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=8)
    first = ask(batcher, 0)
    await model.started()
    wide = asyncio.create_task(batcher.submit(np.ones((1, 3), np.float32), LATER))
    narrow = ask(batcher, 2)
    await queued(batcher, 3)
    model.finish(4)
    assert answer(await settle(narrow)) == [4]
    assert (await settle(wide)).outputs["y"].shape == (1, 3)
    await first


async def test_a_model_that_returns_too_few_rows_gives_an_error_and_no_wrong_answer(make: Make) -> None:
    batcher = make(lambda batch: {"y": batch[:-1]})
    with pytest.raises(ServiceError):
        await batcher.submit(rows(1, 2), LATER)
    assert in_flight() == 0


async def test_close_finishes_the_queue_and_takes_nothing_new(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=1, max_wait=3600)
    tasks = [ask(batcher, i) for i in range(3)]
    await model.started()
    await queued(batcher, 3)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError):
        await batcher.submit(rows(9), LATER)
    assert not closing.done()
    model.finish(3)
    assert [answer(r) for r in await asyncio.gather(*tasks)] == [[0], [2], [4]]
    await closing


async def test_the_in_flight_gauge_counts_queued_and_executing_and_returns_to_zero(
    model: GatedModel, make: Make
) -> None:
    batcher = make(max_batch=1)
    tasks = [ask(batcher, 0)]
    await model.started()
    tasks += [ask(batcher, 1), ask(batcher, POISON), ask(batcher, 3, deadline=0), ask(batcher, 4)]
    await queued(batcher, 5)
    assert in_flight() == 5
    tasks[1].cancel()
    model.finish(10)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert in_flight() == 0
    assert batcher.pending == 0


async def test_results_say_what_they_cost(model: GatedModel, make: Make) -> None:
    batcher = make(max_batch=1)
    first = ask(batcher, 0)
    await model.started()
    second = ask(batcher, 1)
    await queued(batcher, 2)
    since = time.monotonic()
    await until(lambda: time.monotonic() > since + 0.02)
    held = time.monotonic() - since
    model.finish(2)
    done = await asyncio.gather(first, second)
    assert done[0].compute_seconds >= held, "the run itself"
    assert done[1].queue_seconds >= held, "and what waited for it"


async def test_the_run_is_linked_to_the_trace_of_every_request_in_it(model: GatedModel, make: Make) -> None:
    exporter = InMemorySpanExporter()
    tracing.configure("test", None, 1.0, SimpleSpanProcessor(exporter))
    try:
        batcher = make(max_batch=8)

        async def traced(name: str, value: float) -> None:
            with tracing.tracer.start_as_current_span(name):
                await batcher.submit(rows(value), LATER)

        first = asyncio.create_task(traced("first", 0))
        await model.started()
        others = [asyncio.create_task(traced(name, 1)) for name in ("second", "third")]
        await queued(batcher, 3)
        model.finish(2)
        await asyncio.gather(first, *others)
        spans = {span.name: span for span in exporter.get_finished_spans() if span.name != "model run"}
        runs = [span for span in exporter.get_finished_spans() if span.name == "model run"]
        linked = [{link.context.span_id for link in run.links} for run in runs]
        assert linked[0] == {spans["first"].context.span_id}
        assert linked[1] == {spans["second"].context.span_id, spans["third"].context.span_id}
        assert runs[1].context.trace_id == spans["second"].context.trace_id
        assert dict(runs[1].attributes or {}) == {"ferry.model": "gated", "ferry.version": "7", "ferry.batch_size": 2}
        assert all(run.status.status_code is not trace.StatusCode.ERROR for run in runs)
    finally:
        tracing.shutdown()


async def test_rows_of_who_gives_up_in_a_run_are_not_printed(model: GatedModel, make: Make) -> None:
    class Unspeakable(np.ndarray):  # type: ignore[type-arg]
        def __repr__(self) -> str:
            raise AssertionError("printed")

    batcher = make()
    task = asyncio.create_task(batcher.submit(rows(1).view(Unspeakable), LATER))
    await model.started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
