"""The second tier: answers in Redis, shared by all gateways. Whatever Redis does, a request goes on without it."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.cache.entry import MAX_PACKED_BYTES, Entry, pack, unpack
from gateway.store.client import StoreBusyError, StoreClient, StoreError
from serving.telemetry import metrics

_PREFIX = b"ferry:result:1:"
_MAX_WRITES = 256
"""Writes waiting for Redis; further ones are dropped: they would only be a cache."""


class RedisCache:
    """Reads for a caller, writes behind the caller's back."""

    def __init__(self, store: StoreClient, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            store: where answers are kept; started and stopped by whoever made it.
            clock: Unix time, seconds.
        """
        self._store = store
        self._clock = clock
        self._writes = 0
        # A rate misses the first increment of a series that was not there before: errors begin at 0 too.
        self._hits, self._misses, self._busy, _ = (
            metrics.CACHE_REQUESTS.labels("redis", result) for result in ("hit", "miss", "busy", "error")
        )

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._store.available

    async def get(self, key: bytes) -> Entry | None:
        """The entry under `key`; None where there is none, where it is not one, and where Redis does not answer."""
        # A range and not the whole, so that a huge value under our key is not read.
        name = _PREFIX + key.hex().encode()
        try:
            value = await self._store.command(lambda redis: redis.getrange(name, 0, MAX_PACKED_BYTES))
        except StoreBusyError:
            self._busy.inc()
            return None
        except StoreError:
            return None
        entry = unpack(key, value) if isinstance(value, bytes) else None
        (self._misses if entry is None else self._hits).inc()
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Stores `entry` behind the caller's back; nobody waits for it and nobody is told when it fails."""
        if self._writes >= _MAX_WRITES:
            self._busy.inc()
        elif self._store.available:
            self._writes += 1
            self._store.background(self._set(key, entry))

    async def _set(self, key: bytes, entry: Entry) -> None:
        try:
            milliseconds = int((entry.expires - self._clock()) * 1000)
            if milliseconds > 0:
                name, value = _PREFIX + key.hex().encode(), pack(key, entry)
                await self._store.command(lambda redis: redis.set(name, value, px=milliseconds))
        except StoreBusyError:
            self._busy.inc()
        except StoreError:
            return
        finally:
            self._writes -= 1


def count_error() -> None:
    """Counts a command of the cache that Redis did not carry out."""
    metrics.CACHE_REQUESTS.labels("redis", "error").inc()
