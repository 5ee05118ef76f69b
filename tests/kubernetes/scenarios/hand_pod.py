"""Runs as root in a pod that sees its node's processes: kills or stops those of one container.

hand_pod.py kill CONTAINER
hand_pod.py stop CONTAINER SECONDS       the whole process, as a machine that hangs
hand_pod.py freeze CONTAINER SECONDS     its first thread, which runs the event loop; the others answer pings
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

PROC = Path("/proc")
_SEIZE, _INTERRUPT = 0x4206, 0x4207
"""Requests of ptrace(2). When the tracer ends, what it stopped goes on."""


def processes(container: str) -> list[int]:
    """Of a container, by its id; the first is the one that was started first."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        try:
            if container in (folder / "cgroup").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return sorted(found)


def freeze(thread: int) -> None:
    """Stops one thread, for as long as this process lives."""
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (_SEIZE, _INTERRUPT):
        if libc.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main(verb: str, container: str, seconds: str = "0") -> None:
    pids = processes(container)
    if not pids:
        sys.exit(f"no process of container {container} on this node")
    if verb == "kill":
        os.kill(pids[0], signal.SIGKILL)
    elif verb == "stop":
        os.kill(pids[0], signal.SIGSTOP)
        time.sleep(float(seconds))
        os.kill(pids[0], signal.SIGCONT)
    elif verb == "freeze":
        freeze(pids[0])
        time.sleep(float(seconds))
    else:
        sys.exit(f"unknown: {verb}")


if __name__ == "__main__":
    main(*sys.argv[1:])
