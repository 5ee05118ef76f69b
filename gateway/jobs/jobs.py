"""Jobs as callers see them: submitted, asked for, cancelled, each by whom it belongs to."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from google.protobuf.message import DecodeError

from ferry.v1 import gateway_pb2
from gateway.admission.checks import Checks
from gateway.jobs.cipher import Cipher, SealError
from gateway.jobs.store import Bounds, JobStore, Standing
from gateway.jobs.work import Work
from gateway.jobs.worker import Recognize, Worker, aside
from gateway.routing.hints import Hints
from gateway.routing.shadow import Room
from gateway.settings import GatewaySettings
from gateway.store.client import StoreClient, StoreError, StoreRefusedError
from serving.errors import InvalidArgumentError, NotFoundError, OverloadedError, ServiceError, UnavailableError
from serving.rpc.identity import Identity
from serving.telemetry import metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

_ID: Final = re.compile(r"[0-9a-f]{32}")
_ONCE: Final = re.compile(r"[\x21-\x7e]{1,64}")
_DEFAULT_TTL, _LEAST_TTL, _MOST_TTL = 3600.0, 1.0, 86400.0
_FULL_SECONDS: Final = 10.0
"""After which a caller is told to come back: about what the worker needs to make room."""
_State = gateway_pb2.GetJobResponse.State
_STATES: Final = {
    "queued": _State.STATE_QUEUED,
    "running": _State.STATE_RUNNING,
    "succeeded": _State.STATE_SUCCEEDED,
    "failed": _State.STATE_FAILED,
    "lost": _State.STATE_FAILED,
    "expired": _State.STATE_FAILED,
    "cancelled": _State.STATE_CANCELLED,
}
_ENDS: Final = {
    "lost": gateway_pb2.ItemError(code=13, message="gateways were lost while they worked on it; it is not tried again"),
    "expired": gateway_pb2.ItemError(code=4, message="it has waited as long as a job may; submit it again"),
}


class Jobs:
    """One event loop."""

    def __init__(self, store: StoreClient, settings: GatewaySettings, checks: Checks, cipher: Cipher) -> None:
        """
        Args:
            store: the jobs' own Redis.
            settings: of the gateway.
            checks: what is refused.
            cipher: of what lies there.
        """
        # Whoever has a name may not fill the place alone.
        most, size = settings.jobs_most, settings.jobs_bytes
        self._store = store
        self._bounds = Bounds(most, size, most, size, settings.jobs_wait)
        self._jobs = JobStore(store, self._bounds)
        self._named = JobStore(store, Bounds(most, size, max(1, most // 2), size // 2, settings.jobs_wait))
        self._checks = checks
        self._cipher = cipher
        self._settings = settings
        self._worker: Worker | None = None
        for result in ("submitted", "repeated", "refused", "succeeded", "failed", "cancelled", "lost", "expired"):
            # A rate misses the first increment of a series that was not there before.
            metrics.JOBS.labels(result)

    async def start(self, recognize: Recognize, room: Room, busy: Callable[[], bool]) -> None:
        """Works on jobs from now on; see `Worker`."""
        await self._store.start()
        settings = self._settings
        self._worker = Worker(
            self._jobs,
            self._cipher,
            recognize=recognize,
            room=room,
            busy=busy,
            concurrency=settings.jobs_concurrency,
            timeout=settings.default_timeout,
        )
        self._worker.start()
        try:
            policy = await self._jobs.eviction_policy()
        except StoreError:
            return
        if policy not in {"", "noeviction"}:
            log.warning("the Redis of jobs may forget them: its maxmemory-policy is %s, not noeviction", policy)

    async def stop(self) -> None:
        if self._worker is not None:
            await self._worker.stop()
        await self._store.stop()

    async def submit(self, request: gateway_pb2.SubmitJobRequest, hints: Hints, caller: Identity) -> str:
        """The id of the job that recognises the image of `request`.

        Raises:
            InvalidArgumentError: the image, an option, the time to live or the idempotency key.
            OverloadedError: there are as many jobs as there may be, or of this caller.
            UnavailableError: Redis does not answer.
        """
        asked = request.request
        ttl, once = _time_to_live(request), request.idempotency_key
        if once and not _ONCE.fullmatch(once):
            raise InvalidArgumentError("idempotency_key", "must have 1 to 64 printable ASCII characters, no spaces")
        self._checks.check(asked.image, asked.options)
        await self._checks.check_header(asked.image)
        job_id, owner = secrets.token_hex(16), self._owner(caller)
        work = Work(caller, hints, asked).pack()
        sealed = await aside(self._cipher.seal, work, f"{job_id}:work")
        store = self._named if caller.name else self._jobs
        name, digest = "", ""
        if once:
            name = self._cipher.hash(f"once {caller} {once}".encode())
            digest = self._cipher.hash(hashlib.sha256(asked.SerializeToString(deterministic=True)).digest())
        try:
            done = await self._asked(store.submit(job_id, owner, sealed, ttl=ttl, once=name, digest=digest))
        except ServiceError:
            metrics.JOBS.labels("refused").inc()
            raise
        if done.outcome == "other":
            raise InvalidArgumentError("idempotency_key", "stands for a job with another image or other options")
        if done.outcome in {"full", "share"}:
            metrics.JOBS.labels("refused").inc()
            whose = "jobs" if done.outcome == "full" else "jobs of this caller"
            raise OverloadedError(f"too many {whose} wait or have results that are kept; try again", _FULL_SECONDS)
        metrics.JOBS.labels("submitted" if done.outcome == "new" else "repeated").inc()
        if self._worker is not None:
            self._worker.wake()
        return done.job_id

    async def get(self, job_id: str, caller: Identity) -> gateway_pb2.GetJobResponse:
        """How a job of `caller` stands.

        Raises:
            InvalidArgumentError: the id is none.
            NotFoundError: there is none, or it is another's.
            UnavailableError: Redis does not answer.
        """
        standing = await self._find(job_id, caller)
        answer = gateway_pb2.GetJobResponse(state=_STATES[standing.state])
        answer.expire_time.FromMilliseconds(standing.expires)
        await self._fill(answer, job_id, standing)
        return answer

    async def cancel(self, job_id: str, caller: Identity) -> None:
        """Stops a job of `caller`; one that has finished stays as it is.

        Raises:
            as `get`.
        """
        standing = await self._find(job_id, caller)
        became = await self._asked(self._jobs.cancel(job_id, standing.owner))
        if became == "done":
            metrics.JOBS.labels("cancelled").inc()
            if self._worker is not None:
                self._worker.give_up(job_id)

    async def _fill(self, answer: gateway_pb2.GetJobResponse, job_id: str, standing: Standing) -> None:
        if standing.state in _ENDS:
            answer.error.CopyFrom(_ENDS[standing.state])
        elif standing.state in {"succeeded", "failed"}:
            into = answer.response if standing.state == "succeeded" else answer.error
            try:
                into.ParseFromString(await aside(self._cipher.open, standing.result, f"{job_id}:result"))
            except (SealError, DecodeError) as error:
                log.warning("the result of job %s cannot be read: %s", job_id, error)
                raise ServiceError("the result cannot be read: the cluster's key for jobs has changed") from error

    async def _find(self, job_id: str, caller: Identity) -> Standing:
        """Raises: as `get`."""
        if not _ID.fullmatch(job_id):
            raise InvalidArgumentError("job_id", "must be 32 hexadecimal digits, as SubmitJob returned it")
        standing = await self._asked(self._jobs.find(job_id))
        if standing is None or not self._cipher.is_hash(standing.owner, f"owner {caller}".encode()):
            raise NotFoundError("there is no such job: its time is over, or it is another caller's")
        return standing

    def _owner(self, caller: Identity) -> str:
        return self._cipher.hash(f"owner {caller}".encode())

    @staticmethod
    async def _asked(work: Awaitable[T]) -> T:
        try:
            return await work
        except StoreRefusedError as error:
            log.warning("Redis refused a job: %s", error)
            raise OverloadedError("there is no room for jobs at present; try again later", _FULL_SECONDS) from error
        except StoreError as error:
            raise UnavailableError("jobs cannot be kept at present; try again later") from error


def _time_to_live(request: gateway_pb2.SubmitJobRequest) -> float:
    if not request.HasField("time_to_live"):
        return _DEFAULT_TTL
    seconds = request.time_to_live.seconds + request.time_to_live.nanos / 1e9
    if not _LEAST_TTL <= seconds <= _MOST_TTL:
        raise InvalidArgumentError("time_to_live", f"must be 1 s to 24 h (86,400 s), not {seconds:g} s")
    return float(seconds)
