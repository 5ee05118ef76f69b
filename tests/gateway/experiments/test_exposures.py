"""What is kept of answers, where it is kept, and what is not."""

import asyncio
import hashlib
import time

import grpc
import pytest
from pydantic import ValidationError

from gateway.experiments import names, queue
from gateway.experiments.budget import Budget
from gateway.experiments.sampling import Sampling
from gateway.settings import GatewaySettings
from gateway.store.client import StoreClient
from serving.errors import UnavailableError
from serving.settings import load
from tests.gateway.experiments.conftest import exposures, written
from tests.gateway.fakes import Counted, eventually, jpeg, refuse

KEY = (("x-ferry-key", "camera-17"),)


async def test_nothing_is_kept_unless_it_is_turned_on(start, redis):
    gateway = await start(record_exposures=False)
    await gateway.recognize(jpeg(1), metadata=KEY)
    assert not redis.keys(names.PREFIX + "*")


async def test_an_answer_is_kept_with_what_it_is_judged_by(start, redis):
    gateway = await start()
    first = await gateway.recognize(jpeg(1), metadata=KEY)
    second = await gateway.recognize(jpeg(1), metadata=KEY)
    await written(gateway)
    found = exposures(redis)
    one, other = found[first.request_id], found[second.request_id]
    assert (one.assigned, one.variant, one.fingerprint, one.error) == ("stable", "stable", "a" * 16, "")
    assert [face[0] for face in one.faces] == [4]
    assert (one.cached, other.cached) == (False, True)
    assert one.caller == other.caller
    assert one.milliseconds > 0
    assert redis.get(names.table(one.table)) == b'{"stable": 1.0}'


async def test_a_redis_that_has_lost_everything_knows_the_shares_again(start, redis, monkeypatch):
    monkeypatch.setattr("gateway.experiments.recorder._AGAIN_SECONDS", 0.0)
    gateway = await start()
    await gateway.recognize(jpeg(1), metadata=KEY)
    await written(gateway)
    redis.flushall()
    answer = await gateway.recognize(jpeg(2), metadata=KEY)
    await written(gateway)
    assert redis.get(names.table(exposures(redis)[answer.request_id].table)) == b'{"stable": 1.0}'


async def test_neither_image_nor_box_nor_key_is_kept_and_all_of_it_ends(start, redis):
    gateway = await start(record_days=1)
    image = jpeg(2)
    answer = await gateway.recognize(image, metadata=KEY)
    await written(gateway)
    keys = redis.keys(names.PREFIX + "*")
    for key in keys:
        value = redis.dump(key) or b""
        assert b"camera-17" not in value
        assert b"box" not in value
        assert image[:64] not in value
        assert hashlib.sha256(image).hexdigest().encode() not in value
    assert names.record(names.EXPOSURE, answer.request_id).encode() in keys
    for key in keys:
        # Shares of tables outlive the records that name them; sizes and salt say nothing of anybody.
        if key.decode() not in {names.SALT, names.SIZES}:
            assert 0 < redis.ttl(key) <= 3 * 86400


async def test_an_answer_that_was_asked_for_by_name_judges_nobody(start, redis):
    gateway = await start()
    await gateway.recognize(jpeg(1), metadata=(("x-ferry-variant", "stable"),))
    await written(gateway)
    assert not exposures(redis)


async def test_a_failure_is_kept_and_a_wrong_request_is_not(start, redis, ensembler):
    gateway = await start(patience=0.2)
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.recognize(b"no picture", metadata=KEY)

    async def fail(_fake, _request, context):
        await refuse(context, UnavailableError("no model"))

    ensembler.behave = fail
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.recognize(jpeg(3), metadata=KEY)
    await written(gateway)
    (one,) = exposures(redis).values()
    assert (one.assigned, one.variant, one.error, one.faces) == ("stable", "", "UNAVAILABLE", ())


async def test_beyond_the_rate_answers_are_counted_and_forgotten(start, redis):
    sampled = Counted("ferry_records_total", {"kind": "exposure", "result": "sampled"})
    gateway = await start(record_rate=0.001)
    for _ in range(5):
        await gateway.recognize(jpeg(1), metadata=KEY)
    await written(gateway)
    assert len(exposures(redis)) == 1
    assert sampled() == 4


async def test_wrong_requests_take_no_place_of_answers(start, redis):
    gateway = await start(record_rate=0.001)
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.recognize(b"\xff\xd8 no picture", metadata=KEY)
    await gateway.recognize(jpeg(1), metadata=KEY)
    await written(gateway)
    assert len(exposures(redis)) == 1


async def test_callers_who_go_away_take_no_place_of_answers(start, ensembler, redis):
    gateway = await start(record_rate=0.001)
    ensembler.gate.clear()
    for number in range(1, 4):
        leaving = asyncio.create_task(gateway.recognize(jpeg(number), metadata=KEY))
        await eventually(lambda number=number: len(ensembler.requests) == number)
        leaving.cancel()
        await eventually(lambda number=number: ensembler.cancelled == number)
    ensembler.gate.set()
    await gateway.recognize(jpeg(4), metadata=KEY)
    await written(gateway)
    assert len(exposures(redis)) == 1


def test_a_rate_holds_a_second_of_room():
    now = 0.0
    sampling = Sampling(2.0, lambda: now)
    assert [sampling.take() for _ in range(3)] == [True, True, False]
    now = 0.5
    assert [sampling.take() for _ in range(2)] == [True, False]


async def test_the_first_of_two_answers_of_one_id_is_kept(start, redis):
    repeated = Counted("ferry_records_total", {"kind": "exposure", "result": "repeated"})
    gateway = await start()
    metadata = (("x-request-id", "the-same-again"),)
    await gateway.recognize(jpeg(1), metadata=metadata)
    await gateway.recognize(jpeg(1), metadata=metadata)
    await written(gateway)
    assert not exposures(redis)["the-same-again"].cached
    assert repeated() == 1


async def test_redis_away_costs_callers_nothing_and_little_is_lost(start, own_valkey, redis, monkeypatch):
    monkeypatch.setattr(queue, "MOST_WAITING", 3)
    lost = Counted("ferry_records_total", {"kind": "exposure", "result": "queue"})
    gateway = await start(redis_failures=1, redis_retry_interval=0.05)
    await gateway.recognize(jpeg(1))
    await written(gateway)
    own_valkey.terminate()
    for shade in range(2, 8):
        assert len((await gateway.recognize(jpeg(shade), metadata=KEY)).faces) == 1
    assert lost() == 3, "six answers, three places"
    own_valkey.start()
    await eventually(lambda: gateway.service._store.available)
    await written(gateway)
    assert len(exposures(redis)) == 3, "those that waited, in a Redis that has forgotten everything else"


async def test_records_wait_for_a_redis_that_takes_writes(start, redis):
    refused = Counted("ferry_records_total", {"kind": "exposure", "result": "refused"})
    gateway = await start(redis_retry_interval=0.05)
    redis.replicaof("127.0.0.1", 1)
    await gateway.recognize(jpeg(1))
    await eventually(lambda: not gateway.service._store.available)
    redis.replicaof("NO", "ONE")
    await eventually(lambda: gateway.service._store.available)
    await written(gateway)
    assert len(exposures(redis)) == 1
    assert refused() == 0


async def test_a_full_redis_loses_records_and_they_are_counted(start, redis):
    refused = Counted("ferry_records_total", {"kind": "exposure", "result": "refused"})
    gateway = await start()
    await gateway.recognize(jpeg(1))
    await written(gateway)
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1")
    assert len((await gateway.recognize(jpeg(2))).faces) == 1
    await written(gateway)
    assert refused() == 1
    redis.config_set("maxmemory", "0")
    await gateway.recognize(jpeg(3))
    await written(gateway)
    assert len(exposures(redis)) == 2


async def test_a_record_that_no_report_would_find_is_counted_as_refused(start, redis):
    now = names.bucket(time.time())
    for bucket in (now, now + 1):
        redis.set(names.index(names.EXPOSURE, bucket), "no list")
    refused = Counted("ferry_records_total", {"kind": "exposure", "result": "refused"})
    gateway = await start()
    await gateway.recognize(jpeg(1))
    await written(gateway)
    assert refused() == 1


async def test_beyond_the_bytes_the_oldest_go(url, redis):
    store = StoreClient(url, timeout=5, connections=2, failures=3, retry_interval=1)
    now = 1_000_000.0
    dropped = Counted("ferry_records_total", {"kind": "exposure", "result": "dropped"})
    for bucket in range(3):
        at = now + bucket * names.BUCKET_SECONDS
        redis.set(names.record(names.EXPOSURE, f"id{bucket}"), b"x")
        redis.hset(names.labels(f"id{bucket}"), "0", "4:1")
        redis.rpush(names.index(names.EXPOSURE, names.bucket(at)), f"id{bucket}")
        redis.hincrby(names.SIZES, str(names.bucket(at)), 100)
    budget = Budget(store, 250, 86400, lambda: now + 2 * names.BUCKET_SECONDS)
    await budget.tidy()
    assert dropped() == 1
    assert not redis.exists(names.record(names.EXPOSURE, "id0"), names.labels("id0"))
    assert redis.exists(names.record(names.EXPOSURE, "id1"), names.record(names.EXPOSURE, "id2")) == 2
    assert not budget.full
    one = Budget(store, 50, 86400, lambda: now + 2 * names.BUCKET_SECONDS)
    await one.tidy()
    assert one.full, "the present ten minutes alone are more"
    assert redis.exists(names.record(names.EXPOSURE, "id2"))
    await store.stop()


async def test_sizes_that_are_no_numbers_are_in_no_way_of_the_bound(url, redis):
    store = StoreClient(url, timeout=2, connections=2, failures=3, retry_interval=1)
    redis.hset(names.SIZES, mapping={"soon": "5", str(names.bucket(time.time())): "300", "7": "much"})
    budget = Budget(store, most=100, ttl=86400)
    await budget.tidy()
    await store.stop()
    assert budget.full
    assert redis.hlen(names.SIZES) == 1


async def test_gateways_of_one_redis_hash_callers_alike(start, redis):
    gateways = [await start() for _ in range(2)]
    for gateway in gateways:
        await gateway.recognize(jpeg(1), metadata=KEY)
        await written(gateway)
    assert len({one.caller for one in exposures(redis).values()}) == 1
    redis.delete(names.SALT)
    await asyncio.gather(*(gateway.service._experiments._queue._agree() for gateway in gateways))
    await gateways[0].recognize(jpeg(2), metadata=KEY)
    await written(gateways[0])
    assert len({one.caller for one in exposures(redis).values()}) == 1, "a lost salt is put back"


def test_recording_without_a_redis_is_refused_at_the_start(capsys):
    with pytest.raises(ValidationError, match="needs redis_url"):
        GatewaySettings(record_exposures=True)
    with pytest.raises(SystemExit):
        load(GatewaySettings, ["--record-exposures"])
    assert "--record-exposures (or FERRY_RECORD_EXPOSURES)" in capsys.readouterr().err


async def test_who_is_refused_does_not_depend_on_what_is_kept_of_a_variant(start, ensembler):
    gateway = await start(max_concurrency=1)
    await gateway.recognize(jpeg(1), metadata=KEY)
    ensembler.gate.clear()
    asking = asyncio.create_task(gateway.recognize(jpeg(2), metadata=KEY))
    await eventually(lambda: len(ensembler.requests) == 2)
    with pytest.raises(grpc.aio.AioRpcError, match="too many images"):
        await gateway.recognize(jpeg(1), metadata=KEY)
    ensembler.gate.set()
    await asking
    assert (await gateway.recognize(jpeg(1), metadata=KEY)).cached
