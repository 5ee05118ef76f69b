"""What the C allocator keeps of memory that is free, and how often Python looks for garbage.

The allocator is to give large blocks back to the system as soon as they are free. glibc raises its own threshold for
that to 32 MiB once blocks of such a size have been freed, and then keeps what a few large images needed for the rest of
the process's life: hundreds of megabytes that a container is charged for.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc

LARGE_BLOCK = 8 << 20
"""Bytes from which a block is mapped on its own, and goes back at once. What an ordinary photo of 640 x 480 needs stays
below: mapping it anew cost 1,700 page faults an image, half of the CPU time around the detector's run."""
KEPT = 32 << 20
"""Free bytes at the end of a heap above which they go back at once; `release` gives back the rest a little later."""
RELEASE_INTERVAL_SECONDS = 10.0
COLLECT_AFTER = 10_000
"""Containers that were made and are still there, after which those made since are searched for cycles. Python's 700 are
made within two images, and a twentieth of the CPU went to that search. A call leaves no cycles behind."""
COLLECT_AFTER_BYTES = 256 << 20
"""Received, after which all is searched, which takes 15 ms. An error that is left in a cycle keeps what was sent, by
its traceback: this is the most that can be kept so, however large the messages and few the containers."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_ARENAS = 2

_received = 0
"""Bytes, since all was searched."""


def release_promptly() -> None:
    """To be called once, before threads start. Without glibc it does nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, KEPT)
    mallopt(_M_ARENA_MAX, _ARENAS)


def collect_seldom() -> None:
    """To be called once, when all is imported and nothing is loaded that may go again: what is there stays for good."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def received(size: int) -> None:
    """Counts what has come from callers, and looks for garbage when it is enough. On one thread.

    Args:
        size: bytes of a message, or of a part of one.
    """
    global _received
    _received += size
    if _received >= COLLECT_AFTER_BYTES:
        _received = 0
        gc.collect()


def release() -> None:
    """Gives back what is free in the allocator's heaps, wherever it lies. A few milliseconds; without glibc nothing."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)


async def release_regularly(interval: float = RELEASE_INTERVAL_SECONDS) -> None:
    """Calls `release` every `interval` seconds, beside the event loop, until it is cancelled.

    The threshold above frees only what lies at the end of a heap, and gRPC's small pieces of large messages lie
    between others.
    """
    while True:
        await asyncio.sleep(interval)
        await asyncio.to_thread(release)
