"""Records on their way to Redis: bounded, written in batches behind everybody's back, counted where they are lost."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.experiments import names
from gateway.experiments.budget import Budget
from gateway.store.client import StoreClient, StoreError, StoreRefusedError, checked
from serving.telemetry import metrics

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
"""Between two writes; so long an answer may be unknown to other gateways."""
MOST_WAITING = 2048
MOST_WAITING_BYTES = 16 << 20
_BATCH = 256
_TIDY_SECONDS = 10.0
_STOP_SECONDS = 5.0
OVERHEAD_BYTES = 256
"""What Redis takes for a record besides its value: two names, a time to live, a place in the index (measured)."""


@dataclass(frozen=True, slots=True)
class Written:
    """One record as it goes to Redis.

    Attributes:
        kind: one of names.KINDS.
        name: unique among its kind; a second one of the same name is not written.
        value: see `record.pack`.
        time: Unix time, seconds.
    """

    kind: str
    name: str
    value: bytes
    time: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that is not packed yet: that is work for behind the caller's back.

    Attributes:
        kind: one of names.KINDS.
        size: bytes that it holds on to, about.
        pack: makes it; may ask Redis for the salt.
    """

    kind: str
    size: int
    pack: Callable[[], Awaitable[Written]]


class RecordQueue:
    """What Redis does not take waits here, as long as there is room. One event loop."""

    def __init__(self, store: StoreClient, budget: Budget, ttl: float, agree: Callable[[], Awaitable[None]]) -> None:
        """
        Args:
            store: where records go.
            budget: bounds what is there.
            ttl: seconds.
            agree: called now and then with the tidying, to agree on the salt.
        """
        self._store = store
        self._budget = budget
        self._ttl = ttl
        self._agree = agree
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())
        self._tidying = asyncio.create_task(self._tidy())

    async def stop(self) -> None:
        """Writes what waits, for a bounded time, and counts what is left."""
        for task in (self._running, self._tidying):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.flush()
        except TimeoutError:
            log.warning("records are lost: Redis did not take them in time")
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        for item in self._waiting:
            metrics.RECORDS.labels(item.kind, "unavailable").inc()
        self._waiting.clear()

    def put(self, item: Waiting) -> None:
        """Returns at once."""
        if self._budget.full:
            metrics.RECORDS.labels(item.kind, "full").inc()
        elif len(self._waiting) >= MOST_WAITING or self._bytes + item.size > MOST_WAITING_BYTES:
            metrics.RECORDS.labels(item.kind, "queue").inc()
        else:
            self._waiting.append(item)
            self._bytes += item.size

    async def flush(self) -> None:
        """Writes what waits; returns when it is written, or when Redis does not take it.

        Whoever gives up waiting ends nothing: what was written and not yet taken from the queue would be written twice.
        """
        if self._writing is None or self._writing.done():
            self._writing = self._store.background(self._flush())
        await asyncio.shield(self._writing)

    async def _flush(self) -> None:
        while self._waiting and self._store.available:
            batch = [self._waiting[i] for i in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._write(batch)
            except StoreRefusedError:
                self._count(batch, "refused")
            except StoreError as error:
                log.debug("records wait: %s", error)
                return
            except Exception as error:
                # A record that cannot be made must not be in the way of the others for ever.
                log.exception("records are lost: %s", error)
                self._count(batch, "broken")
            for _ in batch:
                self._bytes -= self._waiting.popleft().size

    async def _write(self, batch: list[Waiting]) -> None:
        records = [await item.pack() for item in batch]
        milliseconds = int(self._ttl * 1000)

        async def command(redis: Redis) -> list[Any]:
            pipe = redis.pipeline(transaction=False)
            for one in records:
                pipe.set(names.record(one.kind, one.name), one.value, px=milliseconds, nx=True)
            for index, found in _by_index(records).items():
                pipe.rpush(index, *found)
                pipe.pexpire(index, milliseconds + names.BUCKET_SECONDS * 1000)
            for bucket, size in _sizes(records).items():
                pipe.hincrby(names.SIZES, str(bucket), size)
            return checked(await pipe.execute(raise_on_error=False))

        answers = await self._store.command(command)
        unlisted = set()
        for found, answer in zip(_by_index(records).values(), answers[len(records) :: 2], strict=False):
            if isinstance(answer, ResponseError):
                unlisted.update(found)
        for one, answer in zip(records, answers, strict=False):
            refused = isinstance(answer, ResponseError) or one.name in unlisted
            result = "refused" if refused else "kept" if answer else "repeated"
            metrics.RECORDS.labels(one.kind, result).inc()

    @staticmethod
    def _count(batch: list[Waiting], result: str) -> None:
        for item in batch:
            metrics.RECORDS.labels(item.kind, result).inc()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def _tidy(self) -> None:
        while True:
            try:
                await self._agree()
                await self._budget.tidy()
            except StoreError as error:
                log.debug("records are not tidied: %s", error)
            except Exception as error:
                log.exception("records are not tidied: %s", error)
            await asyncio.sleep(_TIDY_SECONDS)


def _by_index(records: list[Written]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in records:
        found.setdefault(names.index(one.kind, names.bucket(one.time)), []).append(one.name)
    return found


def _sizes(records: list[Written]) -> dict[int, int]:
    found: dict[int, int] = {}
    for one in records:
        bucket = names.bucket(one.time)
        found[bucket] = found.get(bucket, 0) + len(one.value) + 2 * len(one.name) + OVERHEAD_BYTES
    return found
