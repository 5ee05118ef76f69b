"""The first tier: answers in this process, bounded in number and bytes, least recently used out first."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import TLRUCache

from gateway.cache.entry import Entry

_OVERHEAD_BYTES = 768
"""What an entry takes besides its payload: key, objects, its nodes in three containers (measured)."""


class MemoryCache:
    """Keeps entries until they expire or others need the room. One event loop."""

    def __init__(self, max_bytes: int, max_entries: int, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            max_bytes: of payloads and what it takes to keep them.
            max_entries: number of answers.
            clock: Unix time, seconds.
        """
        self._max_entries = max_entries
        self._entries: TLRUCache[bytes, Entry] = TLRUCache(
            max_bytes, ttu=lambda _key, entry, _now: entry.expires, timer=clock, getsizeof=_size
        )

    def get(self, key: bytes) -> Entry | None:
        """What is kept under `key`."""
        return self._entries.get(key)

    def put(self, key: bytes, entry: Entry) -> None:
        """Keeps `entry`, unless it is larger than the whole cache or has expired."""
        if _size(entry) > self._entries.maxsize:
            return
        while len(self._entries) >= self._max_entries and key not in self._entries:
            self._entries.popitem()
        self._entries[key] = entry

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes taken."""
        return int(self._entries.currsize)


def _size(entry: Entry) -> int:
    return len(entry.payload) + _OVERHEAD_BYTES
