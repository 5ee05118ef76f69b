"""What is told of a command that a Redis did not carry out, and to whom."""

import asyncio

import pytest

from gateway.store.client import StoreBusyError, StoreClient, StoreRefusedError, StoreUnavailableError
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import eventually


@pytest.fixture
async def connect():
    made = []

    def client(url, **settings):
        settings = {"timeout": 10.0, "connections": 2, "failures": 1, "retry_interval": 0.02} | settings
        made.append(StoreClient(url, **settings))
        return made[-1]

    yield client
    for store in made:
        await store.stop()


async def test_it_answers(valkey, connect):
    store = connect(redis_url(valkey))
    await store.start()
    assert await store.command(lambda redis: redis.set("a", "1"))
    assert await store.command(lambda redis: redis.get("a")) == b"1"


async def test_a_refusal_is_no_failure(valkey, connect):
    failed = []
    store = connect(redis_url(valkey), failed=lambda: failed.append(1))
    await store.command(lambda redis: redis.set("text", "abc"))
    with pytest.raises(StoreRefusedError, match="not an integer"):
        await store.command(lambda redis: redis.incr("text"))
    assert store.available
    assert failed == [1]


async def test_a_burst_that_takes_all_connections_is_no_failure_of_redis(valkey, connect):
    failed = []
    store = connect(redis_url(valkey), timeout=0.05, failed=lambda: failed.append(1))
    done = asyncio.Event()

    async def slow(redis):
        return await done.wait()

    taken = [asyncio.create_task(store.command(slow)) for _ in range(2)]
    burst = [store.command(lambda redis: redis.ping()) for _ in range(50)]
    outcomes = await asyncio.gather(*burst, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreBusyError] * 50
    assert store.available
    assert not failed
    done.set()
    assert await asyncio.gather(*taken) == [True, True]


async def test_while_it_is_away_commands_fail_at_once_and_it_is_found_again(own_valkey, connect):
    store = connect(redis_url(own_valkey))
    await store.start()
    own_valkey.terminate()
    with pytest.raises(StoreUnavailableError):
        await store.command(lambda redis: redis.get("a"))
    assert not store.available
    with pytest.raises(StoreUnavailableError, match="left alone"):
        await store.command(lambda redis: redis.get("a"))
    own_valkey.start()
    await eventually(lambda: store.available)
    assert await store.command(lambda redis: redis.get("a")) is None


async def test_a_failure_that_nobody_waited_for_is_not_heard_of(connect, caplog):
    store = connect("redis://127.0.0.1:1")
    waiting = asyncio.create_task(store.command(lambda redis: redis.get("a")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await eventually(lambda: store.idle)
    assert "never retrieved" not in caplog.text
