"""Pools of threads that are all there from the start."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


class StartedPool(ThreadPoolExecutor):
    """Starts its threads at once, and not when there is work for them.

    A thread that begins where no memory is left may end before it has said that it has begun, and whoever starts it
    waits for that for ever (`threading.Thread.start`). That would be the event loop.
    """

    def __init__(self, threads: int, name: str) -> None:
        """
        Args:
            threads: 1 or more.
            name: that their names begin with.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        super().__init__(threads, thread_name_prefix=name)
        all_there = threading.Barrier(threads + 1)
        for _ in range(threads):
            self.submit(all_there.wait)
        all_there.wait()
