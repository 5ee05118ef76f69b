"""The micro-batcher: requests of different callers share one model run.

An idle model never waits: what arrives runs at once, and whatever arrives meanwhile forms the next batch, or the next
batches where several runs are made at once: what waits is shared out among them. Models that share CPUs run in turns
(serving.models.batching.turns). A busy model may wait up to `max_wait` for its next batch to fill. Requests whose
caller has gone or whose deadline has passed are dropped before a run, never after; a run that fails is repeated one
request at a time, so that only the request that broke it fails.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
from opentelemetry import trace
from opentelemetry.context import Context

from serving.errors import DeadlineError, OverloadedError, RefusedError, ServiceError
from serving.models.backends import deferred
from serving.models.backends.base import Rows
from serving.models.backends.elastic import under_way
from serving.models.batching.policy import BatchPolicy
from serving.models.batching.result import BatchResult, Finish, Outputs, completed
from serving.models.batching.turns import After, Turns
from serving.telemetry import metrics, tracing

log = logging.getLogger(__name__)

Run = Callable[[Rows], Outputs]


@dataclass(slots=True, eq=False, repr=False)
class _Item:
    """Without a repr: a deque that does not hold one names it in an error, and would print all of its rows for that."""

    rows: Rows
    deadline: float
    future: asyncio.Future[BatchResult]
    enqueued: float
    span: trace.SpanContext
    finish: Finish | None = None
    queue_seconds: float = field(default=0.0)


class MicroBatcher:
    """Batches for one model version. Bound to the event loop that calls `start`.

    What waits is looked at by that loop and by the threads that run; the turns' lock is held meanwhile.
    """

    def __init__(
        self,
        run: Run,
        policy: BatchPolicy,
        *,
        model: str,
        version: str,
        turns: Turns | None = None,
        overlaps: bool = False,
    ) -> None:
        """
        Args:
            run: rows [N, ...] to outputs by name, each with N rows; called on a worker thread.
            policy: the bounds.
            model: name, for metrics and spans.
            version: version, for metrics and spans.
            turns: shared with other models; None: nobody shares its CPUs.
            overlaps: see `Runs`.
        """
        self._run = run
        self._policy = policy
        self._turns = turns or Turns(policy.concurrency * policy.threads)
        self.overlaps = overlaps
        self._model = model
        self._version = version
        self._lock = self._turns.lock
        self._queue: deque[_Item] = deque()
        self._hurried = True
        self._executing = 0
        self._under_way = 0
        self._running_rows = 0
        self._closed = False
        self._finished = asyncio.Event()
        self._recent_run_seconds = 0.05
        self._in_flight = metrics.IN_FLIGHT.labels(model)
        self._queue_histogram = metrics.QUEUE_SECONDS.labels(model, version)
        self._compute_histogram = metrics.COMPUTE_SECONDS.labels(model, version)
        self._size_histogram = metrics.BATCH_SIZE.labels(model, version)

    def start(self) -> None:
        """Takes turns from now on. The running event loop is where answers arrive."""
        self._loop = asyncio.get_running_loop()
        self._turns.add(self)

    @property
    def threads(self) -> int:
        """CPUs of one run."""
        return self._policy.threads

    def due(self) -> float | None:
        """From when on the next run may be made: a busy model waits up to `max_wait` for its batch to fill."""
        if not self._queue or self._under_way >= self._policy.concurrency:
            return None
        oldest = self._queue[0].enqueued
        if self._hurried or self._closed or not self._policy.max_wait or self.rows >= self._policy.max_batch:
            return oldest
        return oldest + self._policy.max_wait

    def waited(self) -> float:
        """Seconds that the oldest request has waited; 0: there is none."""
        return time.monotonic() - self._queue[0].enqueued if self._queue else 0.0

    @property
    def company(self) -> int:
        """Rows up to which each is much cheaper in a run with others."""
        return self._policy.company

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(len(item.rows) for item in self._queue)

    @property
    def pending(self) -> int:
        """Requests queued or executing."""
        return len(self._queue) + self._executing

    async def submit(self, rows: Rows, deadline: float, finish: Finish | None = None) -> BatchResult:
        """Runs `rows` as part of some batch; rows of one shape share a run.

        More than `max_batch` rows are split over several runs, as many side by side as are made at once, so that a
        large request takes few places in the queue and others run between its parts. Fewer are split too while nothing
        else is there to run.

        Args:
            rows: float32 or uint8 [n, ...], n >= 1; the caller has checked the shape of a row.
            deadline: time.monotonic() seconds after which the answer is of no use.
            finish: what comes after the run, for milliseconds at most, with the outputs of these rows. It is called on
                the thread of the run, perhaps beside the next one, unless the request was split; what it holds is let
                go of when the caller gives up. Its errors are the caller's alone.

        Raises:
            OverloadedError: the queue is full, or there is no thread for a run.
            DeadlineError: the deadline passed before the run.
            RefusedError: the batcher is closing.
            ServiceError: the run failed for these rows.
            Exception: whatever `finish` raises.
        """
        with self._lock:
            if len(self._queue) >= self._policy.max_queue:
                raise OverloadedError(f"the queue of {self._model} is full", retry_after=self._backlog_seconds())
            parts = self._parts(rows)
            at_once = self._at_once()
        if len(parts) == 1:
            return await self._submit(rows, deadline, finish)
        results: list[BatchResult] = []
        for start in range(0, len(parts), at_once):
            results += await self._submit_all(parts[start : start + at_once], deadline)
        return BatchResult(
            {name: np.concatenate([r.outputs[name] for r in results]) for name in results[0].outputs},
            sum(r.queue_seconds for r in results[::at_once]),
            sum(r.compute_seconds for r in results[::at_once]),
            max(r.row_seconds for r in results),
        )

    def _parts(self, rows: Rows) -> list[Rows]:
        """Rows of one request as they go into the queue."""
        runs, limit = self._at_once(), self._policy.max_batch
        if runs > 1 and not self.pending:
            limit = min(limit, -(-len(rows) // runs))
        return [rows[start : start + limit] for start in range(0, len(rows), limit)]

    def _at_once(self) -> int:
        """Runs that can be made at the same time as things are."""
        return min(self._policy.concurrency, self._turns.at_once(self))

    async def _submit_all(self, parts: list[Rows], deadline: float) -> list[BatchResult]:
        """The first error ends the others."""
        if len(parts) == 1:
            return [await self._submit(parts[0], deadline)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._submit(part, deadline)) for part in parts]
        except* ServiceError as errors:
            failures = [errors.exceptions[0]]
        else:
            return [task.result() for task in tasks]
        del group, tasks  # an error's traceback holds this frame, and these the error
        raise failures.pop()

    def _backlog_seconds(self) -> float:
        """About how long what waits will take: a run takes as many rows as fit. Within 0.05 to 5."""
        runs = math.ceil(self.rows / self._policy.max_batch)
        return min(max(runs / self._policy.concurrency * self._recent_run_seconds, 0.05), 5.0)

    async def _submit(self, rows: Rows, deadline: float, finish: Finish | None = None) -> BatchResult:
        if self._closed:
            raise RefusedError(f"{self._model} {self._version} is being replaced; try again")
        item = _Item(
            rows,
            deadline,
            asyncio.get_running_loop().create_future(),
            time.monotonic(),
            trace.get_current_span().get_span_context(),
            finish,
        )
        self._in_flight.inc()
        try:
            with self._lock:
                if not self._queue:
                    self._hurried = self._under_way < self._policy.concurrency
                self._queue.append(item)
                self._turns.wake()
            return await item.future
        finally:
            self._in_flight.dec()
            if item.future.cancelled() or not item.future.done():
                item.finish = None
                self._forget(item)
            del item  # an error's traceback holds this frame, and the item the error

    def _forget(self, item: _Item) -> None:
        """A request that nobody waits for leaves the queue at once, so that it takes nobody's place."""
        with self._lock, suppress(ValueError):  # already in a run: its rows are computed and dropped
            self._queue.remove(item)
        if not self.pending:
            self._finished.set()

    def take(self) -> Callable[[], After] | None:
        """The next run, on the thread that makes it; see `Runs`."""
        batch = self._take()
        if not batch:
            return None
        rows = sum(len(item.rows) for item in batch)
        self._hurried = False
        self._executing += len(batch)
        self._under_way += 1
        self._running_rows += rows
        return partial(self._run_batch, batch, rows)

    def _run_batch(self, batch: list[_Item], rows: int) -> After:
        try:
            return self._execute(batch)
        finally:
            with self._lock:
                self._under_way -= 1
                self._running_rows -= rows

    def _take(self) -> list[_Item]:
        """The next batch: whole requests in order of arrival, without those that nobody waits for.

        All have rows of the shape that the oldest has. The others keep their places: each waits at most for a run of
        every request before it.
        """
        batch: list[_Item] = []
        other_shapes: list[_Item] = []
        rows = 0
        now = time.monotonic()
        most = self._policy.max_batch
        at_once = self._at_once()
        if at_once > 1 and self._queue:
            # A fair share of what waits and of what others are at: they are free now or soon.
            there = self._running_rows + self.rows
            most = min(most, max(-(-there // at_once), len(self._queue[0].rows)))
        while self._queue and rows + len(self._queue[0].rows) <= most:
            item = self._queue.popleft()
            if item.future.done():
                continue
            if item.deadline <= now:
                self._tell(self._give, item, self._too_late())
                continue
            if batch and item.rows.shape[1:] != batch[0].rows.shape[1:]:
                other_shapes.append(item)
                continue
            item.queue_seconds = now - item.enqueued
            self._queue_histogram.observe(item.queue_seconds)
            batch.append(item)
            rows += len(item.rows)
        self._queue.extendleft(reversed(other_shapes))
        return batch

    def _too_late(self) -> DeadlineError:
        return DeadlineError(f"the time was up in the queue of {self._model}")

    def _execute(self, batch: list[_Item]) -> After:
        """Makes a run; what comes after it."""
        started = time.monotonic()
        failure: Exception | None = None
        with self._span(batch) as span:
            try:
                rows, outputs = self._run_rows([item.rows for item in batch])
                span.set_attribute("ferry.batch_size", rows)
            except Exception as error:
                span.set_status(trace.StatusCode.ERROR, type(error).__name__)
                failure = error
        if failure is not None:
            self._recover(batch, failure)
            return None
        seconds = time.monotonic() - started
        self._recent_run_seconds = 0.8 * self._recent_run_seconds + 0.2 * seconds
        self._compute_histogram.observe(seconds)
        self._size_histogram.observe(rows)
        return partial(self._finish, batch, outputs, seconds)

    def _finish(self, batch: list[_Item], outputs: Outputs, seconds: float) -> None:
        answers: list[BatchResult | Exception] = []
        start, rows = 0, sum(len(item.rows) for item in batch)
        for item in batch:
            mine = {name: values[start : start + len(item.rows)] for name, values in outputs.items()}
            start += len(item.rows)
            answers.append(completed(BatchResult(mine, item.queue_seconds, seconds, seconds / rows), item.finish))
        self._tell(self._settle, batch, answers)

    def _span(self, batch: list[_Item]) -> AbstractContextManager[trace.Span]:
        """Of the run; one that records nothing where none of its requests is traced."""
        if not any(item.span.trace_flags.sampled for item in batch):
            return nullcontext(trace.INVALID_SPAN)
        links = [trace.Link(item.span) for item in batch if item.span.is_valid]
        attributes = {"ferry.model": self._model, "ferry.version": self._version}
        return tracing.tracer.start_as_current_span("model run", _parent(links), links=links, attributes=attributes)

    def _run_rows(self, parts: list[Rows]) -> tuple[int, Outputs]:
        """On a worker thread: one run over all parts; its number of rows and its outputs."""
        rows = parts[0] if len(parts) == 1 else _joined(parts)
        with under_way():
            outputs = self._run(rows)
        if any(len(values) != len(rows) for values in outputs.values()):
            raise RuntimeError("the model returned another number of rows than it was given")
        return len(rows), outputs

    def _recover(self, batch: list[_Item], failure: Exception) -> None:
        """After a failed run: alone, a request fails; in company, each is tried alone."""
        deferred.catch_up()
        if len(batch) == 1:
            log.error("a run of %s %s failed: %s", self._model, self._version, failure, exc_info=failure)
            self._tell(self._settle, batch, [ServiceError(f"{self._model} could not process this input")])
            return
        log.warning("a run of %d requests failed; repeating them one by one", len(batch), exc_info=failure)
        for item in batch:
            if item.future.done() or item.deadline <= time.monotonic():
                self._tell(self._settle, [item], [self._too_late()])
            elif (after := self._execute([item])) is not None:
                after()

    def _tell(self, what: Callable[..., None], *values: object) -> None:
        """From the thread of a run to the event loop."""
        with suppress(RuntimeError):  # it was closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, *values)

    def _settle(self, batch: list[_Item], answers: Sequence[BatchResult | Exception]) -> None:
        with self._lock:
            self._executing -= len(batch)
        for item, answer in zip(batch, answers, strict=True):
            self._give(item, answer)

    def _give(self, item: _Item, answer: BatchResult | Exception) -> None:
        """On the event loop, where whoever waits is told."""
        if item.future.done():
            pass
        elif isinstance(answer, Exception):
            item.future.set_exception(answer)
        else:
            item.future.set_result(answer)
        if not self.pending:
            self._finished.set()

    async def close(self) -> None:
        """Takes nothing new, finishes what is queued, then asks for no more turns."""
        with self._lock:
            self._closed = True
            if self._queue:
                self._turns.wake()
        while self.pending:
            self._finished.clear()
            await self._finished.wait()
        self._turns.remove(self)


def _joined(parts: list[Rows]) -> Rows:
    """One array of all rows. NumPy lets go of the interpreter's lock for each part, and then waits to have it again."""
    kind = np.result_type(*parts)
    joined = bytearray().join(np.ascontiguousarray(part, kind).data for part in parts)
    return cast(Rows, np.frombuffer(joined, kind).reshape(sum(map(len, parts)), *parts[0].shape[1:]))


def _parent(links: list[trace.Link]) -> Context:
    """The run belongs to the trace of its first sampled request, so that it is kept where that request is kept."""
    sampled = [link.context for link in links if link.context.trace_flags.sampled]
    parents = sampled or [link.context for link in links]
    return trace.set_span_in_context(trace.NonRecordingSpan(parents[0]), Context()) if parents else Context()
