"""Exposures: which variant answered whom, and what it said. On the way of a request it costs a look at a bucket of
tokens, and an entry in a queue where the answer is kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ferry.v1 import gateway_pb2
from gateway.experiments import names
from gateway.experiments.queue import RecordQueue, Waiting, Written
from gateway.experiments.record import FINGERPRINT_DIGITS, Exposure, Pair, faces, pack
from gateway.experiments.salt import Salt
from gateway.experiments.sampling import Sampling
from gateway.store.client import StoreClient
from serving.rpc import context as request_context
from serving.telemetry import metrics

_AGAIN_SECONDS = 60.0
"""Until shares are written again: a Redis that has lost everything knows them soon."""
_SMALL = 256
"""Bytes of what waits besides a kept answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who fell to which variant.

    Attributes:
        key: what decided it: the caller's key or the request id.
        assigned: the name of the variant.
        shares: of the routing table in use, by variant.
    """

    key: bytes
    assigned: str
    shares: Mapping[str, float]


class Recorder:
    """Keeps a sample of the answers. One event loop."""

    def __init__(self, queue: RecordQueue, store: StoreClient, salt: Salt, rate: float, ttl: float) -> None:
        """
        Args:
            queue: to Redis.
            store: the same Redis.
            salt: of the hashes.
            rate: exposures a second, and as many pairs.
            ttl: seconds, of what is written.
        """
        self._queue = queue
        self._store = store
        self._salt = salt
        self._ttl = ttl
        self._sampling = {kind: Sampling(rate) for kind in names.KINDS}
        self._sampled = {kind: metrics.RECORDS.labels(kind, "sampled") for kind in names.KINDS}
        self._tables: dict[str, float] = {}

    def wants(self) -> bool:
        """Whether the answer to a call that comes now is to be kept; asked before anything is made for it.

        What is wanted and then not kept is given back with `unused`.
        """
        if self._sampling[names.EXPOSURE].take():
            return True
        self._sampled[names.EXPOSURE].inc()
        return False

    def unused(self) -> None:
        """What `wants` said yes to was no answer that says anything of a variant: another one is kept in its place."""
        self._sampling[names.EXPOSURE].give_back()

    def answered(
        self, asked: Asked, variant: str, payload: bytes, *, cached: bool, seconds: float, error: str = ""
    ) -> None:
        """Keeps an answer that `wants` said yes to, or that there is none; returns at once.

        Args:
            asked: who.
            variant: that answered; empty where none did.
            payload: a serialised RecognizeResponse with faces, degraded and fingerprint; it is not looked at here.
            cached: whether it came from the cache.
            seconds: that it took.
            error: name of the status with which the assigned variant failed.
        """
        context = request_context.current.get()
        if context is None:
            return
        request_id, owner, now = context.request_id, str(context.caller).encode(), time.time()

        async def written() -> Written:
            answer = gateway_pb2.RecognizeResponse.FromString(payload)
            exposure = Exposure(
                time=now,
                assigned=asked.assigned,
                variant=variant,
                fingerprint=answer.fingerprint[:FINGERPRINT_DIGITS],
                table=await self._table(asked.shares),
                caller=await self._salt.hash(asked.key),
                cached=cached,
                degraded=answer.degraded,
                milliseconds=round(seconds * 1000, 2),
                error=error,
                faces=faces(answer.faces),
            )
            return Written(names.EXPOSURE, request_id, pack(exposure, await self._salt.hash(owner)), now)

        self._queue.put(Waiting(names.EXPOSURE, _SMALL + len(payload), written))

    def compared(self, pair: Pair, key: bytes) -> None:
        """Keeps a pair of an answer that is kept, its caller not yet filled in; returns at once."""
        if not self._sampling[names.PAIR].take():
            self._sampled[names.PAIR].inc()
            return

        async def written() -> Written:
            whole = replace(pair, caller=await self._salt.hash(key))
            return Written(names.PAIR, f"{pair.request_id}:{pair.shadow}", pack(whole), pair.time)

        self._queue.put(Waiting(names.PAIR, _SMALL + 64 * len(pair.matched), written))

    async def _table(self, shares: Mapping[str, float]) -> str:
        """Its name; the shares themselves are written when they are new, and now and then."""
        text = json.dumps(dict(sorted(shares.items())))
        name = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        now = time.monotonic()
        if now >= self._tables.get(name, 0.0):
            key, milliseconds = names.table(name), int(self._ttl * 3000)

            await self._store.command(lambda redis: redis.set(key, text, px=milliseconds))
            self._tables = {known: until for known, until in self._tables.items() if until > now}
            self._tables[name] = now + _AGAIN_SECONDS
        return name
