"""The one way to a Redis: bounded connections, short timeouts, and a breaker that leaves a failing one alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from gateway.store.breaker import Breaker

log = logging.getLogger(__name__)

T = TypeVar("T")
Command = Callable[[Redis], Awaitable[T]]
_NOTHING: Final = "ferry:nothing"
"""A key that nobody sets."""


class StoreError(Exception):
    """Redis did not do what it was asked to."""


class StoreUnavailableError(StoreError):
    """It does not answer, takes no writes since it is a replica, or is left alone because of that."""


class StoreBusyError(StoreError):
    """All connections are taken, by this gateway's own commands: that says nothing about Redis."""


class StoreRefusedError(StoreError):
    """It is there and says no: out of memory, a key of another type."""


def checked(answers: list[Any]) -> list[Any]:
    """What a pipeline answered that raises nothing; for use within a command.

    Raises:
        ReadOnlyError: a replica answered, which the client has to know.
    """
    for answer in answers:
        if isinstance(answer, ReadOnlyError):
            raise answer
    return answers


class StoreClient:
    """Asks one Redis. While that fails nobody waits for it: one task asks now and then whether it is there again.

    Every command runs in a task of its own to its own timeout, so that a caller who gives up never leaves a
    connection with half an answer on it. One event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        connections: int,
        failures: int,
        retry_interval: float,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            url: redis://, rediss:// or unix://.
            timeout: seconds for each of: a free connection, to connect, to send, to read.
            connections: at most.
            failures: in a row, after which Redis is left alone.
            retry_interval: seconds between looks whether it is back.
            failed: called for every command that failed or was refused, looks included.

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
        # Waits for a connection before the pool does, whose error is the one of a Redis that cannot be reached.
        self._connections = asyncio.Semaphore(connections)
        self._breaker = Breaker(failures)
        self._retry_interval = retry_interval
        self._failed = failed
        self._recovery: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._breaker.closed

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._running

    async def start(self) -> None:
        """Looks whether Redis is there; where it is not, says so and goes on."""
        await self._look(decisive=True)

    async def stop(self) -> None:
        """Finishes what is under way, for a bounded time, and closes the connections."""
        if self._running:
            await asyncio.wait(self._running, timeout=4 * self._timeout)
        # Only now: what was under way may just have failed, and then somebody looks whether Redis is back.
        left = [*self._running, *([] if self._recovery is None else [self._recovery])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._redis.aclose()

    async def command(self, command: Command[T]) -> T:
        """What Redis answers to `command`, such as `lambda redis: redis.get(name)`.

        Raises:
            StoreUnavailableError: it does not answer, or is a replica; at once while it is left alone.
            StoreBusyError: no connection was free in time.
            StoreRefusedError: it says no.
        """
        if not self._breaker.closed:
            raise StoreUnavailableError("Redis is left alone until it answers again")
        return await asyncio.shield(self.background(self._ask(command)))

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs `work` in a task that nobody has to wait for, and that `stop` waits for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Looked at: whoever gave up waiting does not want to hear of it at the end.
            task.exception()

    async def _ask(self, command: Command[T], decisive: bool = False) -> T:
        """One failure of a decisive command opens the breaker."""
        free = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                free = await self._connections.acquire()
        if not free:  # not from that error: the frame in which it was raised holds this task, and the task its error
            raise StoreBusyError("no connection to Redis was free in time")
        try:
            return await self._run(command, decisive)
        finally:
            self._connections.release()

    async def _run(self, command: Command[T], decisive: bool) -> T:
        try:
            answer = await command(self._redis)
        except ReadOnlyError as error:
            self._failure(error, decisive=True)
            # A primary that was demoted keeps its connections: only new ones lead to the one in its place.
            with suppress(RedisError, OSError):
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailableError(str(error)) from error
        except ResponseError as error:
            self._failed()
            self._breaker.success()
            log.debug("Redis refused: %s", error)
            raise StoreRefusedError(str(error)) from error
        except Exception as error:
            # Not only RedisError: what listens there may not be a Redis at all.
            self._failure(error, decisive)
            raise StoreUnavailableError(str(error)) from error
        if self._breaker.success():
            log.info("Redis answers again")
        return answer

    def _failure(self, error: Exception, decisive: bool) -> None:
        self._failed()
        if self._breaker.failure(at_once=decisive):
            log.warning("Redis does not answer or takes no writes, going on without it: %s", error)
            if self._recovery is None or self._recovery.done():
                self._recovery = asyncio.create_task(self._recover())

    async def _look(self, decisive: bool = False) -> None:
        try:
            # The smallest write that there is: a replica answers a PING as well.
            await self._ask(lambda redis: redis.delete(_NOTHING), decisive)
        except StoreError as error:
            log.debug("looked for Redis: %s", error)

    async def _recover(self) -> None:
        while not self._breaker.closed:
            await asyncio.sleep(self._retry_interval)
            await self._look()
