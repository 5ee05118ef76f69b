"""What a process that decodes strangers' pictures is told of this one's environment, and where it finds its program."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

_NEEDED: Final = ("PYTHONPATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX")
"""Where modules and libraries are, and what bounds the memory of threads."""
_HERE: Final = str(Path(__file__).resolve().parents[1])
"""The folder that Ferry's packages are in."""


def bare_environment() -> dict[str, str]:
    """No more than it needs to start: the rest holds passwords and keys, which whoever takes it over would find."""
    found = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    if _HERE not in sysconfig.get_paths().values():  # a checkout; what is installed is found anyway
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (found.get("PYTHONPATH"), _HERE)))
    return found


def own_program(module: str, *arguments: str) -> list[str]:
    """The command for one of Ferry's own modules. The folder that this process was started in is no place of modules:
    it may hold a `json.py` or a `serving` of somebody else."""
    return [sys.executable, "-P", "-m", module, *arguments]
