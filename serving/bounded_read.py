"""Reads a file that somebody may exchange for anything at any time, such as a named pipe into which nobody writes."""

from __future__ import annotations

import errno
import json
import os
import select
import time
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 5.0
"""For what comes out of a pipe: a shell gives the output of a command as one."""


def read_bounded(path: Path, most: int) -> bytes:
    """What is in a file, up to `most` bytes; nothing for a pipe that nobody writes into.

    Raises:
        OSError: it cannot be read, or does not come to its end in time.
        ValueError: no file can have that name.
    """
    end, found = time.monotonic() + _PATIENCE_SECONDS, bytearray()
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        while len(found) < most:
            part: bytes | None = file.read(most - len(found))
            if part is None:  # there is who writes, and nothing yet
                if not select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
                    raise OSError(errno.ETIMEDOUT, "nothing comes out of this pipe")
            elif part:
                found += part
            else:
                break
    return bytes(found)


def read_json(path: Path, most: int) -> Any:
    """What a JSON file of up to `most` bytes says.

    Raises:
        OSError: as `read_bounded`.
        ValueError: it is no JSON, longer, or nested too deeply.
    """
    data = read_bounded(path, most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most} bytes")
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_waiting(path: str, flags: int) -> int:
    """To open a pipe would wait for whoever writes, for ever."""
    return os.open(path, flags | os.O_NONBLOCK)
