"""Images that are recognised later, through a real Redis: answered once, by any gateway, for whom they belong to."""

import asyncio
import hashlib
import time

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import gateway_pb2
from gateway.jobs import names
from gateway.jobs.cipher import Cipher
from gateway.jobs.store import Bounds, JobStore
from gateway.store.client import StoreClient
from serving.errors import InvalidArgumentError, UnavailableError
from tests.gateway.fakes import Counted, detail, eventually, jpeg, refuse
from tests.gateway.jobs.conftest import Jobs, State, refused

UNKNOWN = "0" * 32


async def test_a_job_is_answered_through_any_gateway(start, ensembler):
    one, other = await start(), await start()
    counted = Counted("ferry_jobs_total", {"result": "succeeded"})
    job_id = await one.submit(jpeg(1), ttl=60)
    job = await other.until(job_id)
    assert job.state == State.STATE_SUCCEEDED
    assert [face.expression for face in job.response.faces] == [ensembler.expression]
    assert job.response.request_id == job_id
    assert 0 < job.expire_time.seconds - time.time() <= 61
    assert len(ensembler.requests) == 1
    assert counted() == 1


async def test_options_and_the_wanted_variant_are_kept(start, ensembler):
    jobs = await start()
    await jobs.until(await jobs.submit(jpeg(1), options={"max_faces": 3}))
    assert ensembler.requests[-1].options.max_faces == 3
    job = await jobs.until(await jobs.submit(jpeg(1), metadata=[("x-ferry-variant", "nowhere")]))
    assert (job.state, job.error.code) == (State.STATE_FAILED, 5)


async def test_a_job_outlives_the_gateway_that_works_on_it(start, ensembler):
    first = await start(grace=0.1)
    ensembler.gate.clear()
    job_id = await first.submit(jpeg(1))
    await eventually(lambda: len(ensembler.requests) == 1)
    await first.gateway.server.stop()
    ensembler.gate.set()
    second = await start()
    assert (await second.until(job_id)).state == State.STATE_SUCCEEDED


def _store(server):
    client = StoreClient(f"unix://{server.unix_socket_path}", timeout=2, connections=2, failures=5, retry_interval=1)
    return client, JobStore(client, Bounds(100, 1 << 20, 100, 1 << 20, 3600))


async def test_a_job_of_a_gateway_that_was_lost_is_taken_again_and_not_for_ever(start, own_valkey, key, ensembler):
    client, store = _store(own_valkey)
    cipher = Cipher(key)
    owner = cipher.hash(b"owner anonymous")
    await store.submit("a" * 32, owner, cipher.seal(b"x", "y"), ttl=60, once="", digest="")
    turns = []
    for _ in range(3):
        taken, _ = await store.take(lease=0.001)
        turns.append((taken.turn, taken.lost))
        await asyncio.sleep(0.005)
    assert turns == [(1, 0), (2, 1), (3, 2)]
    assert not await store.finish(taken.__class__("a" * 32, 1, 0, 0, 0.0, b""), "succeeded", b""), "it is another's"
    jobs = await start()
    job = await jobs.until("a" * 32)
    assert job.state == State.STATE_FAILED
    assert "lost" in job.error.message
    assert not ensembler.requests
    await client.stop()


async def test_a_waiting_and_a_running_job_can_be_cancelled(start, ensembler, redis):
    jobs = await start(jobs_concurrency=1)
    ensembler.gate.clear()
    running, waiting = await jobs.submit(jpeg(1)), await jobs.submit(jpeg(2))
    await jobs.until(running, State.STATE_RUNNING)
    assert (await jobs.get(waiting)).state == State.STATE_QUEUED
    for job_id in (waiting, running):
        await jobs.cancel(job_id)
        await jobs.cancel(job_id)
        assert (await jobs.get(job_id)).state == State.STATE_CANCELLED
        assert redis.hget(names.job(job_id), "work") is None, "the image is kept"
    await eventually(lambda: ensembler.cancelled == 1)
    ensembler.gate.set()
    after = await jobs.until(await jobs.submit(jpeg(3)))
    assert after.state == State.STATE_SUCCEEDED
    assert len(ensembler.requests) == 2
    assert (await jobs.get(running)).state == State.STATE_CANCELLED


async def test_cancelling_what_has_finished_changes_nothing(start):
    jobs = await start()
    job_id = await jobs.submit(jpeg(1))
    await jobs.until(job_id)
    await jobs.cancel(job_id)
    assert (await jobs.get(job_id)).state == State.STATE_SUCCEEDED


async def test_jobs_are_their_submitters(start, tmp_path):
    file = tmp_path / "keys"
    file.write_text("".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("ann", "bob")))
    gateway = (await start(api_keys=file)).gateway
    ann, bob = (Jobs(gateway, (("authorization", f"Bearer {name}"),)) for name in ("ann", "bob"))
    job_id = await ann.submit(jpeg(1), key="mine")
    assert (await ann.until(job_id)).state == State.STATE_SUCCEEDED
    for call in (bob.get(job_id), bob.cancel(job_id), ann.get(UNKNOWN)):
        assert (await refused(call)).code() is grpc.StatusCode.NOT_FOUND
    assert await bob.submit(jpeg(1), key="mine") != job_id
    assert (await refused(Jobs(gateway).submit(jpeg(1)))).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_same_idempotency_key_is_the_same_job(start):
    jobs = await start()
    first = await jobs.submit(jpeg(1), key="order-7")
    await jobs.until(first)
    assert await jobs.submit(jpeg(1), key="order-7") == first
    assert await jobs.submit(jpeg(1), key="order-8") != first
    error = await refused(jobs.submit(jpeg(2), key="order-7"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == "idempotency_key"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ttl": 0.5}, "time_to_live"),
        ({"ttl": 86401}, "time_to_live"),
        ({"ttl": -1}, "time_to_live"),
        ({"key": "x" * 65}, "idempotency_key"),
        ({"key": "a b"}, "idempotency_key"),
        ({"image": b""}, "image"),
        ({"image": b"no picture"}, "image"),
        ({"options": {"max_faces": 1000}}, "options.max_faces"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_field(start, redis, changes, field):
    jobs = await start()
    error = await refused(jobs.submit(**{"image": jpeg(1), **changes}))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == field
    assert not redis.keys("*")


@pytest.mark.parametrize("name", ["", "xyz", "A" * 32, "0" * 31, "0" * 33, "*"])
async def test_ids_that_are_none(start, name):
    jobs = await start()
    for call in (jobs.get(name), jobs.cancel(name)):
        assert (await refused(call)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_there_are_only_so_many_and_what_ends_makes_room(start, ensembler, redis):
    jobs = await start(jobs_most=2, jobs_concurrency=1)
    ensembler.gate.clear()
    first, _ = await jobs.submit(jpeg(1)), await jobs.submit(jpeg(2), ttl=1)
    error = await refused(jobs.submit(jpeg(3)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert detail(error, error_details_pb2.RetryInfo).retry_delay.seconds > 0
    ensembler.gate.set()
    await jobs.until(first)
    await eventually(lambda: not redis.zcard(names.QUEUE))
    # The second one's result is kept for a second.
    await eventually(lambda: redis.zcard(names.ENDS) < 2)
    assert await jobs.submit(jpeg(3))


async def test_bytes_are_bounded_and_all_of_them_come_back(start, redis):
    image = jpeg(1, (600, 400))
    jobs = await start(jobs_bytes=1 << 16)
    big = image + bytes((1 << 16) - len(image))
    assert (await refused(jobs.submit(big))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    job_id = await jobs.submit(image, ttl=1)
    await jobs.until(job_id)
    assert 0 < int(redis.hget(names.SIZES, ":bytes")) < len(image)
    await eventually(lambda: not redis.exists(names.job(job_id)))
    await eventually(lambda: not redis.exists(names.SIZES))
    assert (await refused(jobs.get(job_id))).code() is grpc.StatusCode.NOT_FOUND
    assert not redis.keys("*")


async def test_one_named_caller_does_not_take_it_all(start, tmp_path, ensembler):
    file = tmp_path / "keys"
    file.write_text("".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("ann", "bob")))
    gateway = (await start(api_keys=file, jobs_most=4)).gateway
    ann, bob = (Jobs(gateway, (("authorization", f"Bearer {name}"),)) for name in ("ann", "bob"))
    ensembler.gate.clear()
    await ann.submit(jpeg(1))
    await ann.submit(jpeg(2))
    error = await refused(ann.submit(jpeg(3)))
    assert "of this caller" in error.details()
    assert await bob.submit(jpeg(3))


async def test_nothing_that_was_sent_or_answered_can_be_read_in_redis(start, redis, ensembler):
    jobs = await start(jobs_concurrency=1)
    ensembler.gate.clear()
    image = jpeg(1)
    for number in range(2):
        await jobs.submit(image, key=f"order-{number}", metadata=[("x-ferry-key", "someone@example.com")])

    def lies():
        found = redis.keys("*")
        hashes = [redis.hgetall(key) for key in found if redis.type(key) == b"hash"]
        strings = [redis.get(key) for key in found if redis.type(key) == b"string"]
        return repr((found, hashes, strings)).encode()

    for secret in (image[:64], b"someone", b"order-", b"anonymous"):
        assert repr(secret)[2:-1].encode() not in lies()
    ensembler.gate.set()
    await eventually(lambda: not redis.zcard(names.QUEUE))
    assert b"efficientnet" not in lies()


async def test_an_image_that_cannot_be_answered_fails_with_the_reason(start, ensembler):
    async def behave(_, request, context):
        await refuse(context, InvalidArgumentError("image", "is a broken JPEG"))

    ensembler.behave = behave
    jobs = await start()
    job = await jobs.until(await jobs.submit(jpeg(1)))
    assert (job.state, job.error.code, job.error.field) == (State.STATE_FAILED, 3, "image")
    assert "broken JPEG" in job.error.message


async def test_what_passes_is_tried_again(start, ensembler):
    async def behave(fake, request, context):
        if len(fake.requests) == 1:
            await refuse(context, UnavailableError("no detector"))

    ensembler.behave = behave
    jobs = await start(patience=0.1)
    assert (await jobs.until(await jobs.submit(jpeg(1)))).state == State.STATE_SUCCEEDED
    assert len(ensembler.requests) == 2


async def test_a_job_that_waits_too_long_says_so(start, ensembler):
    ensembler.gate.clear()
    jobs = await start(jobs_wait=1.0, jobs_concurrency=1)
    first, second = await jobs.submit(jpeg(1)), await jobs.submit(jpeg(2))
    await jobs.until(first, State.STATE_RUNNING)
    await asyncio.sleep(1.05)
    ensembler.gate.set()
    assert (await jobs.until(first)).state == State.STATE_SUCCEEDED
    job = await jobs.until(second)
    assert (job.state, job.error.code) == (State.STATE_FAILED, 4)


async def test_callers_come_first(start, ensembler):
    jobs = await start(jobs_concurrency=3, cache_enabled=False)
    ensembler.gate.clear()
    caller = asyncio.create_task(jobs.gateway.recognize(jpeg(200)))
    await eventually(lambda: len(ensembler.requests) == 1)
    waiting = [await jobs.submit(jpeg(shade)) for shade in range(3)]
    await jobs.until(waiting[0], State.STATE_RUNNING)
    assert len(ensembler.requests) == 2, "more than one job beside a caller"
    ensembler.gate.set()
    await caller
    for job_id in waiting:
        assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED


async def test_a_job_makes_room_for_a_caller_and_is_done_later(start, ensembler):
    jobs = await start(max_concurrency=1, cache_enabled=False)
    ensembler.gate.clear()
    job_id = await jobs.submit(jpeg(1))
    await jobs.until(job_id, State.STATE_RUNNING)
    caller = asyncio.create_task(jobs.gateway.recognize(jpeg(200)))
    await eventually(lambda: ensembler.cancelled == 1)
    ensembler.gate.set()
    await caller
    assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED


async def test_redis_away_is_said_and_jobs_go_on_when_it_is_back(start, own_valkey):
    jobs = await start(jobs_redis_timeout=0.3)
    own_valkey.terminate()
    for call in (jobs.submit(jpeg(1)), jobs.get(UNKNOWN), jobs.cancel(UNKNOWN)):
        assert (await refused(call)).code() is grpc.StatusCode.UNAVAILABLE
    assert (await jobs.gateway.recognize(jpeg(1))).faces, "a call that needs no jobs"
    own_valkey.start()
    deadline = time.monotonic() + 20
    while True:
        try:
            job_id = await jobs.submit(jpeg(2))
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED


async def test_a_full_redis_takes_no_jobs_and_finishes_those_it_has(start, redis, ensembler):
    jobs = await start()
    ensembler.gate.clear()
    job_id = await jobs.submit(jpeg(1))
    await jobs.until(job_id, State.STATE_RUNNING)
    redis.config_set("maxmemory", 1)
    error = await refused(jobs.submit(jpeg(2)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert detail(error, error_details_pb2.RetryInfo).retry_delay.seconds > 0
    ensembler.gate.set()
    assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED


@pytest.mark.parametrize(
    "damage",
    [
        {"expires": "soon"},
        {"expires": "9" * 20},
        {"expires": "-1"},
        {"state": b"\xff\xfe"},
        {"state": "bogus"},
        {"owner": b"\xff\xfe"},
    ],
)
async def test_a_job_that_cannot_be_read_is_none_and_the_log_says_so_once(start, redis, caplog, damage):
    jobs = await start()
    job_id = await jobs.submit(jpeg())
    await jobs.until(job_id)
    redis.hset(names.job(job_id), mapping=damage)
    for call in (jobs.get, jobs.get, jobs.cancel):
        assert (await refused(call(job_id))).code() is grpc.StatusCode.NOT_FOUND
    assert [record.levelname for record in caplog.records if job_id in record.getMessage()] == ["WARNING"]


@pytest.mark.parametrize("field", ["until", "lost", "submitted", "tries", "turn", "ttl", "member", "state"])
async def test_a_job_that_cannot_be_read_holds_up_no_others(start, redis, ensembler, field):
    ensembler.gate.clear()
    jobs = await start(jobs_concurrency=1)
    first, broken, last = [await jobs.submit(jpeg(shade)) for shade in range(3)]
    await jobs.until(first, State.STATE_RUNNING)
    redis.hset(names.job(broken), field, "x")
    ensembler.gate.set()
    assert (await jobs.until(last)).state == State.STATE_SUCCEEDED
    assert (await refused(jobs.get(broken))).code() is grpc.StatusCode.NOT_FOUND
    assert not redis.zcard(names.QUEUE)


async def test_what_is_no_job_holds_up_no_others(start, redis):
    jobs = await start()
    redis.set(names.job("b" * 32), "no hash")
    redis.zadd(names.QUEUE, {"b" * 32: 0, "garbage": 0})
    redis.zadd(names.ENDS, {"garbage": 1, "a b": 1, "a b c": 1, f"a b {'9' * 20}": 1})
    redis.hset(names.SIZES, mapping={":bytes": "nan", ":jobs": "x"})
    assert (await jobs.until(await jobs.submit(jpeg()))).state == State.STATE_SUCCEEDED
    assert redis.zcard(names.ENDS) == 1


async def test_keys_can_be_changed_and_a_lost_one_is_said(start, tmp_path):
    jobs = await start()
    job_id = await jobs.submit(jpeg(1))
    await jobs.until(job_id)
    both, another = tmp_path / "both", tmp_path / "another"
    both.write_text("7d" * 32 + "\n" + "5c" * 32 + "\n")
    another.write_text("7d" * 32 + "\n")
    newer, stranger = await start(jobs_key=both), await start(jobs_key=another)
    assert (await newer.get(job_id)).response.faces
    # Whose it is cannot be seen either.
    assert (await refused(stranger.get(job_id))).code() is grpc.StatusCode.NOT_FOUND


async def test_without_a_redis_for_them_there_are_none(start):
    jobs = await start(jobs_redis_url=None, jobs_key=None)
    for call in (jobs.submit(jpeg(1)), jobs.get(UNKNOWN), jobs.cancel(UNKNOWN)):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "FERRY_JOBS_REDIS_URL" in error.details()


async def test_the_answer_may_be_labelled_by_its_caller(start, own_valkey):
    url = f"unix://{own_valkey.unix_socket_path}"
    jobs = await start(redis_url=url, redis_timeout=2.0, record_exposures=True)
    job_id = await jobs.submit(jpeg(1))
    await jobs.until(job_id)
    label = gateway_pb2.SubmitFeedbackRequest(request_id=job_id, face_index=0, expression=4)
    await jobs.gateway.stub.SubmitFeedback(label, timeout=20)
