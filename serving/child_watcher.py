"""How the event loop hears of the end of the processes that it has started."""

from __future__ import annotations

import asyncio
import os
import sys


def watch_without_threads() -> None:
    """Lets the kernel tell the running loop; where it is too old for that, nothing changes.

    Python 3.11 would start a thread for each process, and the event loop would wait for it to begin
    (serving.thread_pool). Later ones ask the kernel by themselves.
    """
    if sys.version_info >= (3, 12):
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # before Linux 5.3, or built before it
        return
    watcher = asyncio.PidfdChildWatcher()
    watcher.attach_loop(asyncio.get_running_loop())
    asyncio.set_child_watcher(watcher)
