"""How much Redis holds: beyond a number of bytes the oldest records go, ten minutes' worth at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.experiments import names
from gateway.store.client import StoreClient
from serving.telemetry import metrics

_CHUNK = 500


class Budget:
    """Several gateways may tidy the same Redis at once.

    Attributes:
        full: whether the present ten minutes alone have taken all there is.
    """

    def __init__(self, store: StoreClient, most: int, ttl: float, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            store: where records are.
            most: bytes.
            ttl: seconds after which records are gone by themselves.
            clock: Unix time, seconds.
        """
        self.full = False
        self._store = store
        self._most = most
        self._ttl = ttl
        self._clock = clock

    async def tidy(self) -> None:
        """Forgets what has expired, and drops the oldest until the rest fits.

        Raises:
            StoreError: Redis did not answer.
        """

        found = await self._store.command(lambda redis: redis.hgetall(names.SIZES))
        sizes = {}
        for name, size in found.items():
            try:
                sizes[int(name)] = int(size)
            except ValueError:
                await self._forget(name)  # no gateway wrote that
        now = names.bucket(self._clock())
        gone = [bucket for bucket in sizes if bucket < names.bucket(self._clock() - self._ttl)]
        for bucket in gone:
            del sizes[bucket]
            await self._forget(bucket)
        while sum(sizes.values()) > self._most and (oldest := min(sizes)) < now:
            del sizes[oldest]
            await self._drop(oldest)
        self.full = sum(sizes.values()) > self._most
        metrics.RECORD_BYTES.set(sum(sizes.values()))

    async def _drop(self, bucket: int) -> None:
        for kind in names.KINDS:
            while found := await self._take(names.index(kind, bucket)):
                listed = [name.decode(errors="replace") for name in found]
                keys = [names.record(kind, name) for name in listed]
                if kind == names.EXPOSURE:
                    keys += [names.labels(name) for name in listed]
                await self._unlink(keys)
                metrics.RECORDS.labels(kind, "dropped").inc(len(found))
        await self._unlink([names.labelled(bucket)])
        await self._forget(bucket)

    async def _take(self, index: str) -> list[bytes]:
        found = await self._store.command(lambda redis: redis.lpop(index, _CHUNK))
        return [name for name in found or () if isinstance(name, bytes)]

    async def _unlink(self, keys: list[str]) -> None:
        await self._store.command(lambda redis: redis.unlink(*keys))

    async def _forget(self, field: int | bytes | str) -> None:
        name = str(field) if isinstance(field, int) else field
        await self._store.command(lambda redis: redis.hdel(names.SIZES, name))
