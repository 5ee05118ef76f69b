"""What waits for Redis is written once, whoever stops waiting for that."""

import asyncio
import time

import pytest

from gateway.experiments import names, queue
from gateway.experiments.budget import Budget
from gateway.experiments.queue import OVERHEAD_BYTES, RecordQueue, Waiting, Written
from gateway.store.client import StoreClient
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import Counted


class SlowStore(StoreClient):
    """Redis has done what it was asked to, and its answer is under way until `answer` is set."""

    def __init__(self, url):
        super().__init__(url, timeout=10, connections=2, failures=3, retry_interval=1)
        self.done, self.answer = asyncio.Event(), asyncio.Event()

    async def command(self, command):
        answer = await super().command(command)
        self.done.set()
        await self.answer.wait()
        return answer


@pytest.fixture
async def store(own_valkey):
    store = SlowStore(redis_url(own_valkey))
    yield store
    await store.stop()


@pytest.fixture
def records(store):
    """A queue in which one record waits."""

    async def agree():
        pass

    async def pack():
        return Written(names.EXPOSURE, "one", b"x" * 300, time.time())

    records = RecordQueue(store, Budget(store, 1 << 30, 3600), 3600, agree)
    records.put(Waiting(names.EXPOSURE, 300, pack))
    return records


def assert_written_once(redis):
    (index,) = redis.keys(names.index(names.EXPOSURE, "*"))
    assert redis.lrange(index, 0, -1) == [b"one"]
    assert [int(size) for size in redis.hvals(names.SIZES)] == [300 + 2 * len("one") + OVERHEAD_BYTES]


async def test_a_caller_who_leaves_does_not_have_it_written_twice(store, records, redis):
    caller = asyncio.create_task(records.flush())
    await store.done.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    store.answer.set()
    await records.flush()
    assert_written_once(redis)


async def test_the_end_does_not_have_it_written_twice(store, records, redis):
    kept = Counted("ferry_records_total", {"kind": "exposure", "result": "kept"})
    writing = asyncio.create_task(records.flush())
    await store.done.wait()
    writing.cancel()
    stopping = asyncio.create_task(records.stop())
    await asyncio.sleep(0)
    store.answer.set()
    await stopping
    assert_written_once(redis)
    assert kept() == 1


async def test_a_redis_that_hangs_does_not_hold_up_the_end(store, records, monkeypatch):
    monkeypatch.setattr(queue, "_STOP_SECONDS", 0.1)
    lost = Counted("ferry_records_total", {"kind": "exposure", "result": "unavailable"})
    async with asyncio.timeout(20):
        await records.stop()
    assert lost() == 1
