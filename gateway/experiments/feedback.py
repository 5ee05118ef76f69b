"""Labels for earlier answers: who may give them, what fits, and where they are kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ferry.v1 import gateway_pb2
from gateway.experiments import names
from gateway.experiments.queue import FLUSH_SECONDS
from gateway.experiments.record import EXPRESSIONS, Head, RecordError, head_of
from gateway.experiments.salt import Salt
from gateway.store.client import Command, StoreClient, StoreError, StoreRefusedError, checked
from serving.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError, ServiceError, UnavailableError
from serving.rpc.identity import Identity
from serving.telemetry import metrics

MOST_LABELS = 1000
"""Of one call."""
_MOST_ID = 64
_LABEL_BYTES = 200
"""What Redis takes for the labels of one answer (measured)."""
_MOST_PATIENT = 64
"""Calls that wait at once for an answer that another gateway may just be writing."""
_PATIENCE_SECONDS = 2.4 * FLUSH_SECONDS
_PAUSES = (0.1, 0.3)
"""Seconds after which Redis is asked again. How long it may take is set for callers of images, who wait for it; a label
has time, and the same one again changes nothing."""

T = TypeVar("T")

Label = gateway_pb2.SubmitFeedbackRequest


class Feedback:
    """Takes labels on any gateway. One event loop."""

    def __init__(
        self,
        store: StoreClient,
        salt: Salt,
        flush: Callable[[], Awaitable[None]],
        ttl: float,
        clients: frozenset[str],
    ) -> None:
        """
        Args:
            store: where exposures are, and labels go.
            salt: of the hashes of who got them.
            flush: writes this gateway's own exposures.
            ttl: seconds that an exposure lives.
            clients: names of callers who may label the answers of others.
        """
        self._store = store
        self._salt = salt
        self._flush = flush
        self._ttl = ttl
        self._clients = clients
        self._patient = 0

    async def submit(self, labels: Sequence[Label], caller: Identity) -> list[ServiceError | None]:
        """What became of each label: None where it is kept.

        Raises:
            InvalidArgumentError: too few or too many.
            UnavailableError: Redis does not answer.
        """
        if not 1 <= len(labels) <= MOST_LABELS:
            raise InvalidArgumentError("feedback", f"must hold 1 to {MOST_LABELS} labels, not {len(labels)}")
        try:
            found = await self._submit(labels, caller)
        except StoreError as error:
            metrics.FEEDBACK.labels("UNAVAILABLE").inc(len(labels))
            raise UnavailableError("labels cannot be kept at present; try again later") from error
        for problem in found:
            metrics.FEEDBACK.labels("OK" if problem is None else problem.code.name).inc()
        return found

    async def _submit(self, labels: Sequence[Label], caller: Identity) -> list[ServiceError | None]:
        problems = [_form(label) for label in labels]
        wanted = {label.request_id for label, problem in zip(labels, problems, strict=True) if problem is None}
        heads = await self._heads(wanted)
        owner = await self._salt.hash(str(caller).encode())
        trusted = bool(caller.name) and caller.name in self._clients
        kept: list[tuple[int, Label, Head]] = []
        for index, label in enumerate(labels):
            if problems[index] is None:
                problems[index] = _fits(label, heads.get(label.request_id), owner, trusted)
            if problems[index] is None:
                kept.append((index, label, heads[label.request_id]))
        for index in await self._keep(kept):
            problems[index] = UnavailableError("Redis has no room for labels at present")
        return problems

    async def _heads(self, ids: set[str]) -> dict[str, Head]:
        found = await self._read(ids)
        if len(found) < len(ids) and self._patient < _MOST_PATIENT:
            # What was answered just now may still be on its way, here or in another gateway.
            self._patient += 1
            try:
                await self._flush()
                found |= await self._read(ids - found.keys())
                if len(found) < len(ids):
                    await asyncio.sleep(_PATIENCE_SECONDS)
                    found |= await self._read(ids - found.keys())
            finally:
                self._patient -= 1
        return found

    async def _read(self, ids: set[str]) -> dict[str, Head]:
        if not ids:
            return {}
        order = sorted(ids)
        keys = [names.record(names.EXPOSURE, name) for name in order]
        values = await self._ask(lambda redis: redis.mget(keys))
        found = {}
        for name, value in zip(order, values, strict=True):
            try:
                if isinstance(value, bytes):
                    found[name] = head_of(value)
            except RecordError:
                continue
        return found

    async def _keep(self, kept: list[tuple[int, Label, Head]]) -> list[int]:
        """Writes labels; returns the positions of those that Redis refused."""
        if not kept:
            return []
        now = int(time.time())
        fields: dict[str, list[str]] = {}
        ends: dict[str, int] = {}
        answers: dict[int, set[str]] = {}
        for _, label, head in kept:
            fields.setdefault(label.request_id, []).extend((str(label.face_index), f"{label.expression}:{now}"))
            ends[label.request_id] = int((head.time + self._ttl) * 1000)
            answers.setdefault(names.bucket(head.time), set()).add(label.request_id)

        async def command(redis: Redis) -> list[Any]:
            pipe = redis.pipeline(transaction=False)
            for name, of in fields.items():
                pipe.hset(names.labels(name), items=of)
            for name, end in ends.items():
                pipe.pexpireat(names.labels(name), end)
            for bucket, ids in answers.items():
                pipe.sadd(names.labelled(bucket), *ids)
            for bucket in answers:
                pipe.pexpireat(names.labelled(bucket), int(((bucket + 1) * names.BUCKET_SECONDS + self._ttl) * 1000))
            done = checked(await pipe.execute(raise_on_error=False))
            # Only what is new takes room: else whoever says the same again and again would drive out all records.
            listed = done[2 * len(fields) : 2 * len(fields) + len(answers)]
            grown = {bucket: new for bucket, new in zip(answers, listed, strict=True) if isinstance(new, int) and new}
            if grown:
                pipe = redis.pipeline(transaction=False)
                for bucket, new in grown.items():
                    pipe.hincrby(names.SIZES, str(bucket), _LABEL_BYTES * new)
                checked(await pipe.execute(raise_on_error=False))
            return [*done[: len(fields)], *listed]

        done = await self._ask(command)
        refused = {name for name, answer in zip(fields, done, strict=False) if isinstance(answer, ResponseError)}
        for ids, answer in zip(answers.values(), done[len(fields) :], strict=True):
            if isinstance(answer, ResponseError):
                # A label that is in no list is one that no report finds.
                refused |= ids
        return [index for index, label, _ in kept if label.request_id in refused]

    async def _ask(self, command: Command[T]) -> T:
        """As `StoreClient.command`, and again after a pause where Redis was slow for a moment."""
        for pause in _PAUSES:
            try:
                return await self._store.command(command)
            except StoreRefusedError:
                raise
            except StoreError:
                await asyncio.sleep(pause)
        return await self._store.command(command)


def _form(label: Label) -> ServiceError | None:
    if not 1 <= len(label.request_id) <= _MOST_ID:
        return InvalidArgumentError("request_id", f"must have 1 to {_MOST_ID} characters; take it from the answer")
    if label.expression not in EXPRESSIONS:
        return InvalidArgumentError("expression", "must be one of the seven that the contract names")
    return None


def _fits(label: Label, head: Head | None, owner: str, trusted: bool) -> ServiceError | None:
    if head is None:
        return NotFoundError("no answer of this request_id is kept: its time is over, or it was not among those kept")
    if not trusted and head.owner != owner:
        return PermissionDeniedError("the answer was another caller's; only its caller and labelling clients label it")
    if label.face_index >= head.faces:
        return InvalidArgumentError(
            "face_index", f"must be below the number of faces in the answer, {head.faces}, not {label.face_index}"
        )
    return None
