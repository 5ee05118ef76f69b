"""Makes the C allocator give large blocks back to the system as soon as they are free.

glibc raises its own threshold for that to 32 MiB once blocks of such a size have been freed, and then keeps what a few
large images needed for the rest of the process's life: hundreds of megabytes that a container is charged for.
"""

from __future__ import annotations

import ctypes

LARGE_BLOCK = 2 << 20
"""Bytes from which a block is mapped on its own. Less would cost page faults in every model run."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_ARENAS = 2


def release_promptly() -> None:
    """To be called once, before threads start. Without glibc it does nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, LARGE_BLOCK)
    mallopt(_M_ARENA_MAX, _ARENAS)
