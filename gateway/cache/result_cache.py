"""The two tiers as one: memory first, then Redis; what Redis has is kept in memory too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from gateway.cache.entry import MAX_PAYLOAD_BYTES, Entry
from gateway.cache.memory import MemoryCache
from gateway.cache.redis import RedisCache
from serving.telemetry import metrics

_JITTER = 0.1


class ResultCache:
    """Answers by key. An entry expires at the same moment in both tiers, so that none outlives its time to live."""

    def __init__(
        self, memory: MemoryCache, redis: RedisCache | None, ttl: float, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            memory: the first tier.
            redis: the second tier, where there is one.
            ttl: seconds; each entry's own is up to 10 % shorter or longer, so that they do not all expire at once.
            clock: Unix time, seconds.
        """
        self._memory = memory
        self._redis = redis
        self._ttl = ttl
        self._clock = clock
        self._hits, self._misses = (metrics.CACHE_REQUESTS.labels("memory", result) for result in ("hit", "miss"))

    def get_local(self, key: bytes) -> Entry | None:
        """What is under `key` in memory."""
        entry = self._memory.get(key)
        (self._misses if entry is None else self._hits).inc()
        return entry

    async def get_shared(self, key: bytes) -> Entry | None:
        """What is under `key` in Redis."""
        if self._redis is None:
            return None
        entry = await self._redis.get(key)
        if entry is None:
            return None
        self._memory.put(key, entry)
        return entry

    def put(self, key: bytes, payload: bytes) -> None:
        """Keeps `payload` in both tiers; does not wait for Redis. One that is too large is not kept."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            return
        ttl = self._ttl * random.uniform(1 - _JITTER, 1 + _JITTER)
        entry = Entry(payload, self._clock() + ttl)
        self._memory.put(key, entry)
        if self._redis is not None:
            self._redis.put(key, entry)

    @property
    def redis_available(self) -> bool:
        """Whether there is a Redis and it answers."""
        return self._redis is not None and self._redis.available

    @property
    def entries(self) -> int:
        """Answers in memory."""
        return len(self._memory)

    @property
    def size(self) -> int:
        """Bytes they take."""
        return self._memory.size
