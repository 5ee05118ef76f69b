"""Works on jobs with what callers leave: several while nobody else is served, one at a time while somebody is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import grpc

from ferry.v1 import gateway_pb2
from gateway.jobs.cipher import Cipher, SealError
from gateway.jobs.store import JobStore, Taken
from gateway.jobs.work import WorkError, unpack
from gateway.recognize.batch import item_error
from gateway.routing.hints import Hints
from gateway.routing.shadow import Room
from gateway.store.client import StoreBusyError, StoreError, StoreUnavailableError
from serving.errors import DeadlineError, ServiceError
from serving.rpc.context import Losses, RequestContext, current
from serving.telemetry import metrics

log = logging.getLogger(__name__)

Recognize = Callable[[gateway_pb2.RecognizeRequest, Hints], Awaitable[gateway_pb2.RecognizeResponse]]

_LOOK_SECONDS: Final = 0.5
"""Between two looks for jobs that other gateways took in."""
_MEASURE_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
"""That a stop waits for Redis: for what it is asked at the moment, and then for what goes back."""
_TO_STORE_SECONDS: Final = 15.0
"""Of a lease, besides the time for the answer."""
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
"""What says nothing about the image: it is tried again as long as the job may wait."""
_MOST_LATE: Final = 3
"""How often a job may take too long."""
_LONGEST_PAUSE: Final = 60.0
_NO_ROOM_PAUSE: Final = 1.0
"""Also for the worker, until it has finished a job: what comes next in the queue would find no room either."""
_LARGE: Final = 256 << 10
"""Bytes; what is larger is opened and sealed beside the event loop."""


class Worker:
    """One event loop."""

    def __init__(
        self,
        store: JobStore,
        cipher: Cipher,
        *,
        recognize: Recognize,
        room: Room,
        busy: Callable[[], bool],
        concurrency: int,
        timeout: float,
    ) -> None:
        """
        Args:
            store: where jobs are.
            cipher: opens and seals them.
            recognize: answers one.
            room: for an image that nobody waits for; taken back as soon as a call needs it.
            busy: whether somebody is served.
            concurrency: jobs worked on at once while nobody is.
            timeout: seconds for the answer to one.
        """
        self._store = store
        self._cipher = cipher
        self._recognize = recognize
        self._room = room
        self._busy = busy
        self._concurrency = concurrency
        self._timeout = timeout
        self._looking: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._stopped = False
        self._rest_until = 0.0
        self._measured = 0.0

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def give_up(self, job_id: str) -> None:
        """Ends the work on a job that was cancelled, if it is done here."""
        if task := self._running.get(job_id):
            task.cancel()

    def start(self) -> None:
        """Works on jobs from now on."""
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Puts what is being worked on back into the queue, for another gateway; waits for Redis for a bounded time.

        What Redis is being asked for is waited for: whoever leaves before the answer has taken a job and does not know.
        """
        self._stopped = True
        self.wake()
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=_STOP_SECONDS)
            self._looking.cancel()
        # Each has begun by now: a task that is cancelled before that would not put its job back.
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)

    async def _look(self) -> None:
        while not self._stopped:
            self._wake.clear()
            try:
                await self._start_some()
                await self._measure()
            except StoreError as error:
                log.debug("no jobs are taken: %s", error)
            except Exception as error:
                log.exception("no jobs are taken: %s", error)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _start_some(self) -> None:
        while self._may_take():
            taken, passed = await self._store.take(self._timeout + _TO_STORE_SECONDS)
            for result in passed:
                if result != "gone":
                    metrics.JOBS.labels(result).inc()
            if taken is None:
                return
            if self._stopped:
                await self._store.put_back(taken, 0.0, tried=False)
                return
            # Of an earlier turn, whose lease ran out while the process stood still: nobody takes its result any more.
            self.give_up(taken.job_id)
            task = asyncio.create_task(self._work(taken))
            self._running[taken.job_id] = task
            task.add_done_callback(partial(self._done, taken.job_id))
            # It takes its room, before the next one is looked for.
            await asyncio.sleep(0)

    def _may_take(self) -> bool:
        """Whether a job could be worked on: taking one fetches its image, and keeps it from other gateways."""
        if self._stopped or not self._store.available or time.monotonic() < self._rest_until:
            return False
        if len(self._running) >= (1 if self._busy() else self._concurrency):
            return False
        # How large the next one is, only Redis knows.
        free = self._room.spare(0, lambda: None)
        if free is not None:
            free()
        return free is not None

    def _rest(self) -> None:
        self._rest_until = time.monotonic() + _NO_ROOM_PAUSE

    def _done(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self._running.get(job_id) is task:
            del self._running[job_id]
        self.wake()

    async def _measure(self) -> None:
        if time.monotonic() >= self._measured + _MEASURE_SECONDS:
            self._measured = time.monotonic()
            waiting, size = await self._store.sizes()
            metrics.JOBS_WAITING.set(waiting)
            metrics.JOB_BYTES.set(size)

    async def _work(self, taken: Taken) -> None:
        """Ends with the job finished or back in the queue; where neither reaches Redis, its lease runs out."""
        task = asyncio.current_task()
        assert task is not None

        def drop() -> None:
            self._rest()
            task.cancel()

        free = self._room.spare(len(taken.work), drop)
        try:
            if free is None:
                self._rest()
                await self._store.put_back(taken, _NO_ROOM_PAUSE, tried=False)
                return
            await self._answer(taken)
        except asyncio.CancelledError:
            # Room was taken back, the job was cancelled, or the gateway stops.
            pause = 0.0 if self._stopped else _NO_ROOM_PAUSE
            try:
                await asyncio.shield(self._store.put_back(taken, pause, tried=False))
            except StoreError as error:
                log.debug("job %s comes back when its lease has run out: %s", taken.job_id, error)
        except StoreError as error:
            log.warning("job %s is worked on once more, since Redis did not take its result: %s", taken.job_id, error)
        except Exception as error:
            log.exception("job %s: %s", taken.job_id, error)
        finally:
            if free is not None:
                free()

    async def _answer(self, taken: Taken) -> None:
        try:
            work = unpack(await aside(self._cipher.open, taken.work, f"{taken.job_id}:work"))
        except (SealError, WorkError) as error:
            # Another gateway may have the key.
            log.warning("job %s cannot be read here: %s", taken.job_id, error)
            await self._store.put_back(taken, _pause(taken.tries), tried=True)
            return
        began = time.monotonic()
        current.set(RequestContext(taken.job_id, began + self._timeout, work.caller, Losses(taken.lost)))
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._recognize(work.request, work.hints)
        except TimeoutError:
            await self._failed(taken, began, DeadlineError("no answer in the time that a job has"))
        except ServiceError as error:
            await self._failed(taken, began, error)
        else:
            await self._finish(taken, began, "succeeded", answer.SerializeToString())

    async def _failed(self, taken: Taken, began: float, error: ServiceError) -> None:
        late = error.code is grpc.StatusCode.DEADLINE_EXCEEDED and taken.tries + 1 < _MOST_LATE
        if late or (error.code in _PASSING and not error.suspect):
            log.info("job %s is tried again: %s", taken.job_id, error)
            if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                self._rest()
            await self._store.put_back(taken, _pause(taken.tries), tried=True)
            return
        log.info("job %s failed: %s", taken.job_id, error)
        await self._finish(taken, began, "failed", item_error(error).SerializeToString())

    async def _finish(self, taken: Taken, began: float, state: str, result: bytes) -> None:
        sealed = await aside(self._cipher.seal, result, f"{taken.job_id}:result")
        self._rest_until = 0.0
        if await self._keep(taken, began, state, sealed):
            metrics.JOBS.labels(state).inc()
            metrics.JOB_SECONDS.observe(taken.age + time.monotonic() - began)

    async def _keep(self, taken: Taken, began: float, state: str, sealed: bytes) -> bool:
        """Whether the job was still to be worked on. Asks again within the lease: after it, a Redis that was away for a
        moment would count as a gateway that was lost."""
        end, tries = began + self._timeout + _TO_STORE_SECONDS, 0
        while True:
            try:
                return await self._store.finish(taken, state, sealed)
            except (StoreBusyError, StoreUnavailableError):
                if time.monotonic() + _pause(tries) >= end:
                    raise
            await asyncio.sleep(_pause(tries))
            tries += 1


async def aside(work: Callable[[bytes, str], bytes], data: bytes, place: str) -> bytes:
    """`work(data, place)`, in a thread where there is much of it."""
    return work(data, place) if len(data) < _LARGE else await asyncio.to_thread(work, data, place)


def _pause(tries: int) -> float:
    return min(2.0 ** min(tries, 16), _LONGEST_PAUSE)
