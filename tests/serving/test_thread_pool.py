"""Threads that are there before memory is short."""

from __future__ import annotations

import asyncio
import threading

from serving.daemon_thread import in_daemon_thread
from serving.thread_pool import StartedPool
from tests.serving.short_memory import no_memory


async def test_work_is_done_by_threads_that_were_there_before() -> None:
    pool, loop = StartedPool(2, "there"), asyncio.get_running_loop()
    meet = threading.Barrier(2)
    with no_memory():
        async with asyncio.timeout(10):
            await asyncio.gather(*(loop.run_in_executor(pool, meet.wait, 10) for _ in range(2)))
    pool.shutdown()


async def test_a_thread_that_never_begins_holds_up_no_event_loop() -> None:
    asyncio.get_running_loop().set_default_executor(StartedPool(1, "asyncio"))
    with no_memory():
        left = asyncio.create_task(in_daemon_thread(int, "7", name="left"))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not left.done()
    left.cancel()
