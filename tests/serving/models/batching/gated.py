"""A model whose every run the test lets go by hand."""

from __future__ import annotations

import asyncio
import queue
import threading

import numpy as np
import numpy.typing as npt

from serving.models.backends.base import Rows

POISON = -1.0


class GatedModel:
    """Doubles its rows. Each run appears in `started` and waits until the test calls `finish`."""

    def __init__(self) -> None:
        self.runs: list[npt.NDArray[np.float32]] = []
        self._started: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._gate = threading.Semaphore(0)

    def __call__(self, rows: Rows) -> dict[str, npt.NDArray[np.float32]]:
        self.runs.append(rows)
        self._started.put(len(rows))
        assert self._gate.acquire(timeout=30)
        if (rows == POISON).any():
            raise RuntimeError("a row that the model cannot digest")
        return {"y": rows * 2}

    async def started(self) -> int:
        """Waits for the next run to begin; its number of rows."""
        return await asyncio.to_thread(self._started.get, timeout=30)

    def finish(self, runs: int = 1) -> None:
        self._gate.release(runs)
