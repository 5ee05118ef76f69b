"""What is told of a command that a Redis did not carry out, and to whom."""

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from gateway.store.client import StoreBusyError, StoreClient, StoreRefusedError, StoreUnavailableError
from tests.circles import no_circles
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


async def test_after_its_end_nobody_looks_whether_redis_is_back(connect):
    store = connect("redis://127.0.0.1:1", failures=1)
    asked = asyncio.Event()

    async def fail_later(redis):
        await asked.wait()
        return await redis.get("a")

    caller = asyncio.create_task(store.command(fail_later))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(store.stop())
    await asyncio.sleep(0)
    asked.set()
    await asyncio.wait({caller, stopping})
    assert isinstance(caller.exception(), StoreUnavailableError)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def asked_of(reader):
    """The words of the next command."""
    words = []
    for _ in range(int((await reader.readline())[1:])):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


@asynccontextmanager
async def failing_over():
    """A Redis in whose place another has come: on its first connection it takes no writes; yields its URL."""
    connections = 0

    async def answer(reader, writer):
        nonlocal connections
        connections += 1
        demoted = connections == 1
        try:
            while True:
                name = (await asked_of(reader))[0]
                refused = demoted and name in {b"SET", b"DEL"}
                writer.write(b"-READONLY You can't write against a read only replica.\r\n" if refused else b"+OK\r\n")
        except (asyncio.IncompleteReadError, ValueError, ConnectionError):
            pass
        finally:
            writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        server = await asyncio.start_unix_server(answer, str(path))
        try:
            yield f"unix://{path}"
        finally:
            server.close()


async def test_after_a_failover_writes_reach_the_new_primary(connect):
    async with failing_over() as url:
        store = connect(url, failures=3)
        with pytest.raises(StoreUnavailableError, match="read only replica"):
            await store.command(lambda redis: redis.set("a", "1"))
        assert not store.available
        await eventually(lambda: store.available)
        assert await store.command(lambda redis: redis.set("a", "1"))


async def test_a_replica_is_left_alone_until_it_takes_writes(own_valkey, connect):
    store = connect(redis_url(own_valkey))
    with Redis(unix_socket_path=str(own_valkey.unix_socket_path)) as redis:
        redis.replicaof("127.0.0.1", 1)
        await store.start()
        assert not store.available
        await asyncio.sleep(0.1)
        assert not store.available, "it answers, and that is not enough"
        redis.replicaof("NO", "ONE")
    await eventually(lambda: store.available)


async def test_a_command_that_had_no_connection_is_let_go_of_at_once(valkey, connect):
    store = connect(redis_url(valkey), timeout=0.05)
    begun, done = [], asyncio.Event()

    async def slow(redis):
        begun.append(1)
        return await done.wait()

    taken = [asyncio.create_task(store.command(slow)) for _ in range(2)]
    await eventually(lambda: len(begun) == 2)
    with no_circles((StoreBusyError, TimeoutError)):
        for _ in range(3):
            with pytest.raises(StoreBusyError):
                await store.command(lambda redis: redis.ping())
        await asyncio.sleep(0)
    done.set()
    await asyncio.gather(*taken)
