"""Two tiers as one, against a real server."""

import asyncio

import pytest

from ferry.v1 import gateway_pb2
from gateway.cache.memory import MemoryCache
from gateway.cache.redis import RedisCache
from gateway.cache.result_cache import ResultCache
from gateway.store.client import StoreClient
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import eventually

PAYLOAD = gateway_pb2.RecognizeResponse(fingerprint="f").SerializeToString()


def payload(entry):
    return None if entry is None else entry.payload


class Clock:
    """Unix time that only a test moves; Redis has its own."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make(store, clock, ttl=100.0):
    redis = None if store is None else RedisCache(store, clock)
    return ResultCache(MemoryCache(1 << 20, 100, clock), redis, ttl, clock)


@pytest.fixture
async def stores():
    """Makes clients of a server, which end with the test."""
    made = []

    def client(server):
        made.append(StoreClient(redis_url(server), timeout=10.0, connections=2, failures=5, retry_interval=1))
        return made[-1]

    yield client
    for store in made:
        await store.stop()


def lifetime(cache, clock, key):
    """Seconds until `key` is no longer in memory, to a tenth."""
    start = clock.now
    while cache.get_local(key) is not None:
        clock.now += 0.1
    return clock.now - start


async def test_each_answer_lives_its_own_time_near_the_ttl(clock):
    cache = make(None, clock)
    lifetimes = []
    for i in range(40):
        cache.put(bytes([i]) * 32, PAYLOAD)
        lifetimes.append(lifetime(cache, clock, bytes([i]) * 32))
    assert 90 <= min(lifetimes) < 97
    assert 103 < max(lifetimes) <= 110.2


async def test_memory_only(clock):
    cache = make(None, clock)
    cache.put(b"k" * 32, PAYLOAD)
    assert payload(cache.get_local(b"k" * 32)) == PAYLOAD
    assert await cache.get_shared(b"k" * 32) is None
    assert not cache.redis_available


async def test_what_comes_from_redis_keeps_its_time(valkey, stores, clock):
    key, store = b"from redis".ljust(32), stores(valkey)
    one, other = make(store, clock), make(stores(valkey), clock)
    one.put(key, PAYLOAD)
    await eventually(lambda: store.idle)
    clock.now += 80
    assert other.get_local(key) is None
    assert payload(await other.get_shared(key)) == PAYLOAD
    # At most 30 seconds are left of it, not another hundred.
    assert 9.8 < lifetime(other, clock, key) <= 30.2


async def test_writes_are_finished_at_the_end(valkey, stores, clock):
    store = stores(valkey)
    cache, reader = make(store, clock), make(stores(valkey), clock)
    keys = [f"late {i}".encode().ljust(32) for i in range(50)]
    for key in keys:
        cache.put(key, PAYLOAD)
    await store.stop()
    assert [payload(await reader.get_shared(key)) for key in keys] == [PAYLOAD] * 50


async def test_an_answer_that_is_too_large_is_not_kept(valkey, stores, clock):
    cache = make(stores(valkey), clock)
    cache.put(b"k" * 32, bytes((1 << 20) + 1))
    assert cache.entries == 0
    assert await cache.get_shared(b"k" * 32) is None


async def test_a_read_is_finished_although_its_caller_has_gone(own_valkey, stores, clock):
    store = stores(own_valkey)
    cache = make(store, clock)
    cache.put(b"k" * 32, PAYLOAD)
    await eventually(lambda: store.idle)
    for _ in range(20):
        reads = [asyncio.create_task(cache.get_shared(b"k" * 32)) for _ in range(4)]
        await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
    assert payload(await cache.get_shared(b"k" * 32)) == PAYLOAD
    assert await cache.get_shared(b"other".ljust(32)) is None
    assert cache.redis_available
