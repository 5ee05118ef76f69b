"""Jobs in Redis: every step is one script, so that they survive whoever works on them."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from gateway.jobs import names, scripts
from gateway.store.client import StoreClient

log = logging.getLogger(__name__)

BESIDE: Final = 768
"""Bytes that Redis takes for a job besides what lies in it: names, numbers, places in three indices (measured)."""
MOST_LOST: Final = 2
"""How many gateways may be lost while they work on a job before it is given up."""
_GONE: Final = 100
"""Most jobs that are passed over in one look for one to work on."""
STATES: Final = frozenset({"queued", "running", "succeeded", "failed", "cancelled", "lost", "expired"})
_MOST_MS: Final = 253_402_300_799_999
"""The last moment of the year 9999, after which the contract has no time."""
_MOST_DAMAGED: Final = 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of what lies in Redis.

    Attributes:
        jobs, size: all jobs, and their bytes.
        own_jobs, own_size: those of one caller.
        wait: seconds that a job may wait for its result.
    """

    jobs: int
    size: int
    own_jobs: int
    own_size: int
    wait: float


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission.

    Attributes:
        outcome: new, known, other, full or share: see `scripts.SUBMIT`.
        job_id: empty where there is none.
    """

    outcome: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands.

    Attributes:
        owner: hash of whose it is.
        state: one of `STATES`.
        result: sealed; empty where there is none.
        expires: when it is forgotten, Unix time in milliseconds.
    """

    owner: str
    state: str
    result: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A job to work on.

    Attributes:
        job_id: 32 hexadecimal digits.
        turn: tells this worker from earlier ones.
        lost: how many gateways were lost while they worked on it.
        tries: how often it could not be answered.
        age: seconds since it was submitted.
        work: sealed.
    """

    job_id: str
    turn: int
    lost: int
    tries: int
    age: float
    work: bytes


class JobStore:
    """All methods raise `gateway.store.client.StoreError` where Redis does not do what it is asked to."""

    def __init__(self, store: StoreClient, bounds: Bounds) -> None:
        self._store = store
        self._bounds = bounds
        self._damaged: set[str] = set()
        """That the log has been told of."""

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._store.available

    async def submit(self, job_id: str, owner: str, work: bytes, *, ttl: float, once: str, digest: str) -> Submitted:
        """Puts a job in the queue.

        Args:
            job_id: 32 hexadecimal digits.
            owner: hash of whose it is.
            work: sealed.
            ttl: seconds that the result is kept.
            once: hash of the caller's idempotency key; empty: there is none.
            digest: of what is asked; empty where `once` is.
        """
        bounds = self._bounds
        limits = (bounds.jobs, bounds.size, bounds.own_jobs, bounds.own_size)
        rest = (job_id, owner, work, _ms(ttl), _ms(bounds.wait), *limits, digest, names.JOB)
        outcome, known = await self._run(scripts.SUBMIT, names.job(job_id), *rest, more=[names.once(once)])
        return Submitted(outcome.decode(), known.decode())

    async def find(self, job_id: str) -> Standing | None:
        """How a job stands; None: there is none of that id, or none that can be read."""
        fields = ("owner", "state", "result", "expires")

        async def command(redis: Redis) -> list[Any]:
            return await redis.hmget(names.job(job_id), list(fields))

        owner, state, result, expires = await self._store.command(command)
        if owner is None or state is None:
            return None
        with suppress(ValueError):
            found = Standing(owner.decode(), state.decode(), result or b"", int(expires or b""))
            if found.state in STATES and 0 <= found.expires <= _MOST_MS:
                return found
        self._tell_damaged(job_id)
        return None

    async def cancel(self, job_id: str, owner: str) -> str:
        """done, unknown, or the state of a job that had finished before."""
        found: bytes = await self._run(scripts.CANCEL, names.job(job_id), job_id, owner)
        return found.decode()

    async def take(self, lease: float) -> tuple[Taken | None, list[str]]:
        """A job to work on, nobody else's for `lease` seconds, and what became of those that were passed over."""
        passed: list[str] = []
        for _ in range(_GONE):
            found = await self._run(scripts.TAKE, names.JOB, _ms(lease), MOST_LOST)
            if found is None:
                break
            if found[0] == b"taken":
                job_id, turn, lost, tries, age, work = found[1:]
                return Taken(job_id.decode(), turn, lost, tries, age / 1000, work or b""), passed
            if found[0] == b"damaged":
                self._tell_damaged(found[1].decode(errors="replace"))
                found = [b"gone"]
            passed.append(found[0].decode())
        return None, passed

    async def finish(self, taken: Taken, state: str, result: bytes) -> bool:
        """Keeps the sealed `result`; returns whether the job was still to be worked on."""
        return bool(await self._run(scripts.FINISH, names.job(taken.job_id), taken.job_id, taken.turn, state, result))

    async def put_back(self, taken: Taken, delay: float, tried: bool) -> bool:
        """Lets others take the job after `delay` seconds; `tried`: it could not be answered.

        Returns:
            Whether it was still to be worked on.
        """
        key = names.job(taken.job_id)
        return bool(await self._run(scripts.PUT_BACK, key, taken.job_id, taken.turn, _ms(delay), int(tried)))

    async def sizes(self) -> tuple[int, int]:
        """Jobs that wait or are worked on, and the bytes of all jobs."""

        async def command(redis: Redis) -> tuple[int, int]:
            waiting = await redis.zcard(names.QUEUE)
            size = await redis.hget(names.SIZES, ":bytes")
            return int(waiting), int(size or 0)

        return await self._store.command(command)

    async def eviction_policy(self) -> str:
        """What Redis does when it is full, such as noeviction; empty where it does not say."""

        async def command(redis: Redis) -> str:
            memory: dict[str, Any] = await redis.info("memory")
            return str(memory.get("maxmemory_policy", "")) if memory.get("maxmemory") else ""

        return await self._store.command(command)

    def _tell_damaged(self, job_id: str) -> None:
        """Once for each, as far as they are remembered: it may be asked for again and again."""
        if job_id in self._damaged:
            return
        if len(self._damaged) >= _MOST_DAMAGED:
            self._damaged.clear()
        self._damaged.add(job_id)
        log.warning("job %s cannot be read in Redis and counts as gone", job_id)

    async def _run(self, script: str, job: str, *arguments: Any, more: list[str] | None = None) -> Any:
        keys = [names.QUEUE, names.ENDS, names.SIZES, job, *(more or ())]

        async def command(redis: Redis) -> Any:
            return await redis.register_script(script)(keys, [BESIDE, *arguments])

        return await self._store.command(command)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
