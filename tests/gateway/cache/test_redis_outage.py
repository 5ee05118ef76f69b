"""A gateway goes on whatever becomes of its Redis."""

import asyncio
import logging
import signal
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

from redis import Redis

from ferry.v1 import gateway_pb2
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import Counted, eventually, jpeg


async def written(gateway):
    """Returns when everything kept so far has reached Redis, or failed to."""
    await eventually(lambda: gateway.service._store.idle)


async def test_gateways_share_answers(start_gateway, valkey):
    hits = Counted("ferry_cache_requests_total", {"tier": "redis", "result": "hit"})
    one, other = [await start_gateway(redis_url=redis_url(valkey)) for _ in range(2)]
    image = jpeg(100)
    first = await one.recognize(image)
    await written(one)
    second = await other.recognize(image)
    assert (first.cached, second.cached) == (False, True)
    assert second.faces == first.faces
    assert second.timings.ensembler_ms == 0
    assert hits() == 1
    assert (await other.recognize(image)).cached
    assert hits() == 1, "the second time it was in memory"


async def test_what_redis_holds_is_no_image_and_expires(start_gateway, valkey):
    gateway = await start_gateway(redis_url=redis_url(valkey), cache_ttl=1000)
    image = jpeg(101)
    with Redis(unix_socket_path=str(valkey.unix_socket_path)) as redis:
        before = set(redis.keys())
        await gateway.recognize(image)
        await written(gateway)
        (name,) = set(redis.keys()) - before
        assert image not in redis.get(name)
        assert 850 <= redis.ttl(name) <= 1100


async def test_garbage_in_redis_is_a_miss(start_gateway, valkey):
    image = jpeg(102)
    with Redis(unix_socket_path=str(valkey.unix_socket_path)) as redis:
        before = set(redis.keys())
        gateway = await start_gateway(redis_url=redis_url(valkey))
        await gateway.recognize(image)
        await written(gateway)
        (name,) = set(redis.keys()) - before
        good = redis.get(name)
        garbage = [b"", b"?", good[:-1], good[:40] + b"\xff" + good[41:], b"FRY1" + bytes(100), bytes(2 << 20)]
        for value in garbage:
            redis.set(name, value)
            fresh = await start_gateway(redis_url=redis_url(valkey))
            assert not (await fresh.recognize(image)).cached
            await written(fresh)
            assert redis.get(name) != value, "the good answer is written over it"
        redis.delete(name)
        redis.lpush(name, "a list")
        fresh = await start_gateway(redis_url=redis_url(valkey))
        assert not (await fresh.recognize(image)).cached
        assert fresh.service._cache.redis_available


async def test_redis_dies_and_comes_back(start_gateway, own_valkey):
    gateway = await start_gateway(
        redis_url=redis_url(own_valkey), redis_failures=1, redis_retry_interval=0.05, cache_entries=1
    )
    await gateway.recognize(jpeg(1))
    await written(gateway)
    own_valkey.terminate()
    for shade in range(2, 6):
        assert len((await gateway.recognize(jpeg(shade))).faces) == 1
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    assert not status.cache.redis_available
    own_valkey.start()
    # No request is needed for it.
    await eventually(lambda: gateway.service._cache.redis_available)
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    assert status.cache.redis_available
    await gateway.recognize(jpeg(6))
    await written(gateway)
    with Redis(unix_socket_path=str(own_valkey.unix_socket_path)) as redis:
        assert redis.keys(), "it is used again"


async def test_without_redis_at_the_start_it_serves_and_says_so_once(start_gateway, caplog):
    caplog.set_level(logging.INFO)
    gateway = await start_gateway(redis_url="redis://127.0.0.1:1", redis_retry_interval=0.01)
    for shade in range(5):
        assert len((await gateway.recognize(jpeg(shade))).faces) == 1
    assert (await gateway.recognize(jpeg(0))).cached, "memory still answers"
    assert len([record for record in caplog.records if "Redis" in record.message]) == 1


@asynccontextmanager
async def silent_redis():
    """A socket that takes connections and never answers; yields its URL and the list of connections."""
    connections = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silent.sock"
        server = await asyncio.start_unix_server(lambda _reader, writer: connections.append(writer), str(path))
        try:
            yield f"unix://{path}", connections
        finally:
            for writer in connections:
                writer.close()
            server.close()


async def test_a_redis_that_hangs_is_left_alone(start_gateway):
    async with silent_redis() as (url, connections):
        gateway = await start_gateway(redis_url=url, redis_timeout=0.02, redis_retry_interval=3600)
        asked = len(connections)
        assert asked == 1, "at the start"
        for shade in range(5):
            assert len((await gateway.recognize(jpeg(shade))).faces) == 1
        assert len(connections) == asked


async def test_nobody_waits_for_a_redis_that_begins_to_hang(start_gateway, own_valkey):
    gateway = await start_gateway(redis_url=redis_url(own_valkey), redis_timeout=3600)
    own_valkey._process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            assert len((await gateway.recognize(jpeg(0))).faces) == 1
    finally:
        own_valkey._process.send_signal(signal.SIGCONT)


async def test_what_a_slow_redis_has_is_answered_while_the_models_are_still_asked(ensembler, start_gateway, own_valkey):
    one, other = [await start_gateway(redis_url=redis_url(own_valkey), redis_timeout=3600) for _ in range(2)]
    await one.recognize(jpeg(0))
    await written(one)
    ensembler.gate.clear()
    own_valkey._process.send_signal(signal.SIGSTOP)
    asked = asyncio.create_task(other.recognize(jpeg(0)))
    await eventually(lambda: len(ensembler.requests) == 2)
    own_valkey._process.send_signal(signal.SIGCONT)
    assert (await asked).cached
    await eventually(lambda: ensembler.cancelled == 1)


async def test_a_redis_that_begins_to_hang_costs_a_few_timeouts(start_gateway, own_valkey):
    errors = Counted("ferry_cache_requests_total", {"tier": "redis", "result": "error"})
    gateway = await start_gateway(
        redis_url=redis_url(own_valkey), redis_timeout=0.25, redis_failures=3, redis_retry_interval=3600
    )
    await gateway.recognize(jpeg(0))
    await written(gateway)
    own_valkey._process.send_signal(signal.SIGSTOP)
    try:
        for shade in range(1, 10):
            assert len((await gateway.recognize(jpeg(shade))).faces) == 1
            await written(gateway)
        assert not gateway.service._cache.redis_available
        assert 3 <= errors() <= 6, "the breaker ended it"
    finally:
        own_valkey._process.send_signal(signal.SIGCONT)
