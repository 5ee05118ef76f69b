"""A Valkey of its own, for those who keep answers in a Redis."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.cluster.valkey import valkey_spec

START_SECONDS = 10


@contextmanager
def valkey(folder: Path) -> Iterator[Path]:
    """Runs one with its socket in `folder`; gives the socket.

    Raises:
        ClusterError: there is none for this platform.
        TimeoutError: it does not answer.
    """
    spec = valkey_spec(folder, 0)
    process = subprocess.Popen(spec.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not spec.is_ready():
            if time.monotonic() > give_up:
                raise TimeoutError("Valkey does not answer")
            time.sleep(0.05)
        yield Path(spec.address.removeprefix("unix://"))
    finally:
        process.terminate()
        process.wait(10)
