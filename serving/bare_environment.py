"""What a process that decodes strangers' pictures is told of this one's environment."""

from __future__ import annotations

import os
from typing import Final

_NEEDED: Final = ("PYTHONPATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX")
"""Where modules and libraries are, and what bounds the memory of threads."""


def bare_environment() -> dict[str, str]:
    """No more than it needs to start: the rest holds passwords and keys, which whoever takes it over would find."""
    return {name: os.environ[name] for name in _NEEDED if name in os.environ}
