"""Threads that are there before memory is short."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from serving.daemon_thread import in_daemon_thread
from serving.thread_pool import ThreadPool
from tests.serving.scarce import SECONDS, no_memory, spare_threads


async def test_work_is_done_by_threads_that_were_there_before() -> None:
    pool, loop = ThreadPool(2, "there"), asyncio.get_running_loop()
    pool.begin()
    meet = threading.Barrier(2)
    began = time.monotonic()
    with no_memory():
        await asyncio.gather(*(loop.run_in_executor(pool, meet.wait, SECONDS) for _ in range(2)))
    assert time.monotonic() - began < SECONDS
    pool.shutdown()


def test_a_pool_that_cannot_begin_says_so_and_holds_nobody_up() -> None:
    pool = ThreadPool(3, "there")
    with spare_threads("there") as spare:
        spare(2)
        with pytest.raises(RuntimeError, match="can't start"):
            pool.begin()
    pool.shutdown(wait=True)


async def test_who_needs_a_thread_that_never_begins_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await in_daemon_thread(int, "7", name="left") == 7
    monkeypatch.setattr("serving.daemon_thread._START_SECONDS", 0.05)
    with no_memory(), pytest.raises(RuntimeError, match="did not begin"):
        await in_daemon_thread(int, "7", name="left")


async def test_a_thread_that_never_begins_holds_up_no_event_loop() -> None:
    assert await in_daemon_thread(int, "7", name="left") == 7
    began = time.monotonic()
    with no_memory():
        left = asyncio.create_task(in_daemon_thread(int, "7", name="left"))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not left.done()
        assert time.monotonic() - began < SECONDS
    left.cancel()
