"""The second tier: answers in Redis, shared by all gateways. Whatever Redis does, a request goes on without it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from gateway.cache.entry import MAX_PACKED_BYTES, Entry, pack, unpack
from gateway.store.breaker import Breaker
from serving.telemetry import metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

_PREFIX = b"ferry:result:1:"
_MAX_WRITES = 256
"""Writes waiting for Redis; further ones are dropped: they would only be a cache."""


class RedisCache:
    """Reads with a short timeout, writes behind the answer, and leaves a failing Redis alone until it is back.

    While Redis fails no request pays for it: one task asks now and then whether it is there again.

    Every command runs in a task of its own to its own timeout, so that a caller who gives up never leaves a
    connection with half an answer on it.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        connections: int,
        failures: int,
        retry_interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            url: redis://, rediss:// or unix://.
            timeout: seconds for each of: a free connection, to connect, to send, to read.
            connections: at most.
            failures: in a row, after which Redis is left alone.
            retry_interval: seconds between looks whether it is back.
            clock: Unix time, seconds.

        Raises:
            ValueError: the URL is not one.
        """
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=timeout,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        )
        self._timeout = timeout
        self._breaker = Breaker(failures)
        self._retry_interval = retry_interval
        self._recovery: asyncio.Task[None] | None = None
        self._clock = clock
        self._running: set[asyncio.Task[Any]] = set()
        self._writes = 0
        self._hits, self._misses, self._errors = (
            metrics.CACHE_REQUESTS.labels("redis", result) for result in ("hit", "miss", "error")
        )

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._breaker.closed

    async def start(self) -> None:
        """Looks whether Redis is there; where it is not, says so and goes on."""
        await self._command(self._redis.ping, decisive=True)

    async def stop(self) -> None:
        """Finishes the writes, for a bounded time, and closes the connections."""
        if self._recovery is not None:
            self._recovery.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=4 * self._timeout)
        for task in self._running:
            task.cancel()
        await self._redis.aclose()

    async def get(self, key: bytes) -> Entry | None:
        """The entry under `key`; None where there is none, where it is not one, and where Redis does not answer."""
        if not self._breaker.closed:
            return None
        return await asyncio.shield(self._spawn(self._get(key)))

    def put(self, key: bytes, entry: Entry) -> None:
        """Stores `entry` behind the caller's back; nobody waits for it and nobody is told when it fails."""
        if self._writes >= _MAX_WRITES:
            self._errors.inc()
        elif self._breaker.closed:
            self._writes += 1
            self._spawn(self._set(key, entry))

    async def _get(self, key: bytes) -> Entry | None:
        # A range and not the whole, so that a huge value under our key is not read.
        value = await self._command(lambda: self._redis.getrange(_PREFIX + key.hex().encode(), 0, MAX_PACKED_BYTES))
        if value is None:
            return None
        entry = unpack(key, value) if isinstance(value, bytes) else None
        (self._misses if entry is None else self._hits).inc()
        return entry

    async def _set(self, key: bytes, entry: Entry) -> None:
        try:
            milliseconds = int((entry.expires - self._clock()) * 1000)
            if milliseconds > 0:
                name, value = _PREFIX + key.hex().encode(), pack(key, entry)
                await self._command(lambda: self._redis.set(name, value, px=milliseconds))
        finally:
            self._writes -= 1

    async def _command(self, command: Callable[[], Awaitable[T]], decisive: bool = False) -> T | None:
        """What Redis answered; None where it did not, or refused. One failure of a decisive one opens the breaker."""
        try:
            answer = await command()
        except ResponseError as error:
            # Redis is there and says no: out of memory, a replica, a key of another type.
            self._errors.inc()
            self._breaker.success()
            log.debug("Redis refused: %s", error)
            return None
        except Exception as error:
            # Not only RedisError: what listens there may not be a Redis at all.
            self._errors.inc()
            if self._breaker.failure(at_once=decisive):
                log.warning("Redis does not answer, serving without it: %s", error)
                if self._recovery is None or self._recovery.done():
                    self._recovery = asyncio.create_task(self._recover())
            return None
        if self._breaker.success():
            log.info("Redis answers again")
        return answer

    async def _recover(self) -> None:
        while not self._breaker.closed:
            await asyncio.sleep(self._retry_interval)
            await self._command(self._redis.ping)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
