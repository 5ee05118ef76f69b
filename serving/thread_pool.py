"""Pools of threads that are all there before there is work for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

_SECONDS = 30.0
"""For all of them to be there."""


class ThreadPool(ThreadPoolExecutor):
    """Its threads can be started when a service starts, and not when there is work for them.

    A thread that begins where no memory is left may end before it has said that it has begun, and whoever starts it
    waits for that for ever (`threading.Thread.start`). That would be the event loop.
    """

    def __init__(self, threads: int, name: str) -> None:
        """
        Args:
            threads: 1 or more.
            name: that their names begin with.
        """
        super().__init__(threads, thread_name_prefix=name)
        self._all, self._name = threads, name

    def begin(self) -> None:
        """Starts all threads, once, before there is work. After `serving.memory.release_promptly`, which has to come
        before any thread.

        Raises:
            RuntimeError: the system has too few to give, or there are some already.
        """
        if self._threads:
            raise RuntimeError(f"threads for {self._name} have begun before")
        there = threading.Barrier(self._all + 1)
        try:
            for _ in range(self._all):
                self.submit(there.wait)
            there.wait(_SECONDS)
        except threading.BrokenBarrierError:
            raise RuntimeError(f"not all of {self._all} threads for {self._name} have begun") from None
        except BaseException:
            there.abort()
            raise
