"""Threads that are there before memory is short."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

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


@pytest.mark.parametrize("use", [ThreadPool.begin, lambda pool: pool.submit(int)])
def test_a_pool_begins_once_and_before_its_work(use: Callable[[ThreadPool], object]) -> None:
    pool = ThreadPool(1, "there")
    use(pool)
    with pytest.raises(RuntimeError, match="have begun before"):
        pool.begin()
    pool.shutdown()
