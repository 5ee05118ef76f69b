"""When jobs are taken, and that those which are taken come back: a worker takes what it can run, and nothing else."""

import asyncio
import secrets
import time

import pytest
from redis import Redis

from ferry.v1 import gateway_pb2
from gateway.jobs import names, worker
from gateway.jobs.cipher import Cipher
from gateway.jobs.store import Bounds, JobStore
from gateway.jobs.work import Work
from gateway.routing.hints import NO_HINTS
from gateway.store.client import StoreClient, StoreUnavailableError
from serving.errors import OverloadedError
from serving.rpc.identity import ANONYMOUS
from tests.gateway.conftest import redis_url
from tests.gateway.fakes import eventually, jpeg, refuse
from tests.gateway.jobs.conftest import State


@pytest.fixture
async def store(own_valkey):
    client = StoreClient(redis_url(own_valkey), timeout=10, connections=2, failures=5, retry_interval=1)
    yield JobStore(client, Bounds(100, 1 << 30, 100, 1 << 30, 3600))
    await client.stop()


@pytest.fixture
def take_in(store, key):
    """Takes a job in as another gateway does, so that the one of a test does not hear of it."""
    cipher = Cipher(key)

    async def submit(image: bytes) -> str:
        job_id = secrets.token_hex(16)
        work = Work(ANONYMOUS, NO_HINTS, gateway_pb2.RecognizeRequest(image=image)).pack()
        sealed, owner = cipher.seal(work, f"{job_id}:work"), cipher.hash(b"owner anonymous")
        await store.submit(job_id, owner, sealed, ttl=60, once="", digest="")
        return job_id

    return submit


def takes(redis: Redis, *job_ids: str) -> int:
    """How often these jobs were taken, all together."""
    return sum(int(redis.hget(names.job(job_id), "turn")) for job_id in job_ids)


async def test_no_job_is_taken_before_there_is_room(start, ensembler, redis, take_in):
    jobs = await start(max_concurrency=1, cache_enabled=False)
    ensembler.gate.clear()
    caller = asyncio.create_task(jobs.gateway.recognize(jpeg(200)))
    await eventually(lambda: len(ensembler.requests) == 1)
    waiting = [await take_in(jpeg(shade)) for shade in range(10)]
    for job_id in waiting:
        jobs.gateway.service._kept_jobs._worker.wake()
        assert (await jobs.get(job_id)).state == State.STATE_QUEUED
    assert takes(redis, *waiting) == 0
    ensembler.gate.set()
    await caller
    for job_id in waiting:
        assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED
    assert takes(redis, *waiting) == len(waiting)


async def test_one_job_that_is_too_large_for_the_room_is_enough_to_see_it(start, ensembler, redis, take_in):
    jobs = await start(max_in_flight_bytes=1 << 20, cache_enabled=False, jobs_concurrency=2)
    ensembler.gate.clear()
    large = bytes(600 << 10)
    caller = asyncio.create_task(jobs.gateway.recognize(jpeg(200) + large))
    await eventually(lambda: len(ensembler.requests) == 1)
    began = time.monotonic()
    waiting = [await take_in(jpeg(shade) + large) for shade in range(6)]
    await eventually(lambda: takes(redis, *waiting) >= 2)
    assert takes(redis, *waiting) <= 1 + time.monotonic() - began, "more than one a second"
    ensembler.gate.set()
    await caller
    for job_id in waiting:
        assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED


async def test_models_without_room_are_left_alone_for_a_while(start, ensembler):
    async def full(_, request, context):
        await refuse(context, OverloadedError("no room", 0.1))

    ensembler.behave = full
    jobs = await start(jobs_concurrency=1)
    began = time.monotonic()
    waiting = [await jobs.submit(jpeg(shade)) for shade in range(10)]
    await eventually(lambda: len(ensembler.requests) >= 2)
    assert len(ensembler.requests) <= 1 + time.monotonic() - began, "more than one a second"
    ensembler.behave = None
    for job_id in waiting:
        assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED


async def test_a_job_that_redis_is_about_to_give_when_the_gateway_stops_goes_back(start, ensembler, redis, monkeypatch):
    take, taken, answer = JobStore.take, asyncio.Event(), asyncio.Event()

    async def slow(self, lease):
        """Redis has done it, and the answer is under way."""
        found = await take(self, lease)
        if found[0] is not None:
            taken.set()
            await answer.wait()
        return found

    monkeypatch.setattr(JobStore, "take", slow)
    first = await start()
    job_id = await first.submit(jpeg(1))
    await taken.wait()
    stopping = asyncio.create_task(first.gateway.service._kept_jobs.stop())
    await asyncio.sleep(0)
    answer.set()
    await stopping
    assert redis.hget(names.job(job_id), "state") == b"queued"
    second = await start()
    assert (await second.until(job_id)).state == State.STATE_SUCCEEDED
    assert redis.hget(names.job(job_id), "lost") == b"0", "its image is no suspect"
    assert len(ensembler.requests) == 1


async def test_a_redis_that_is_away_when_a_job_is_done_makes_its_image_no_suspect(start, ensembler, redis, monkeypatch):
    finish, asked = JobStore.finish, []

    async def stalling(self, taken, state, result):
        asked.append(taken.job_id)
        if len(asked) == 1:
            raise StoreUnavailableError
        return await finish(self, taken, state, result)

    monkeypatch.setattr(JobStore, "finish", stalling)
    jobs = await start()
    job_id = await jobs.submit(jpeg(1))
    assert (await jobs.until(job_id)).state == State.STATE_SUCCEEDED
    assert redis.hget(names.job(job_id), "lost") == b"0"
    assert len(ensembler.requests) == 1
    assert asked == [job_id] * 2


async def test_a_job_that_comes_back_while_it_is_worked_on_has_one_turn_here(start, ensembler, redis, monkeypatch):
    """As after the process stood still for longer than its lease."""
    take = JobStore.take

    async def first_briefly(self, lease):
        return await take(self, 0.1 if not ensembler.requests else lease)

    monkeypatch.setattr(JobStore, "take", first_briefly)
    jobs = await start(cache_enabled=False)
    ensembler.gate.clear()
    job_id = await jobs.submit(jpeg(1))
    await eventually(lambda: len(ensembler.requests) == 2)
    await eventually(lambda: ensembler.cancelled == 1)
    await jobs.gateway.service._kept_jobs.stop()
    assert takes(redis, job_id) == 2
    assert redis.hget(names.job(job_id), "state") == b"queued", "the turn that it has goes back"


async def test_a_redis_that_hangs_does_not_hold_up_the_end(start, monkeypatch):
    asked = asyncio.Event()

    async def hang(self, lease):
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(JobStore, "take", hang)
    monkeypatch.setattr(worker, "_STOP_SECONDS", 0.1)
    jobs = await start()
    await asked.wait()
    async with asyncio.timeout(20):
        await jobs.gateway.service._kept_jobs.stop()
