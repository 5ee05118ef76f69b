"""Asks the process in which a model runs for suspects, and bears its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.companion import Companion, EndedError, Read
from serving.errors import DeadlineError, LostError, ServiceError
from serving.models.apart.program import SECONDS, Answer, Task
from serving.models.backends.base import Outputs, Rows
from serving.models.batching.result import BatchResult
from serving.thread_pool import ThreadPool

log = logging.getLogger(__name__)

PROGRAM = "serving.models.apart.program"
ROWS = 8
"""Of one run: few, so that it takes little memory beside the model."""
START_SECONDS = 0.5
"""That the process needs at least to load its libraries and the model; mostly a second."""
_MAX_OUTPUT_BYTES = 256 << 20


class ModelApart:
    """Runs of one model version, where nothing of this process is at stake: in float32, with one thread, one suspect
    after the other. Belongs to the event loop that uses it, but for its making."""

    def __init__(self, file: Path, program: str = PROGRAM) -> None:
        """Starts its thread, and so may wait long (serving.thread_pool): not on the event loop.

        Args:
            file: the .onnx file.
            program: the module that runs it.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        self._companion = Companion(program, str(file), seconds=SECONDS + 10.0, start_seconds=START_SECONDS)
        self._pool = ThreadPool(1, "run-apart")
        self._pool.begin()

    @property
    def start_seconds(self) -> float:
        """Seconds that its process needs at least until it can be asked; 0: it runs."""
        return self._companion.start_seconds

    async def run(self, rows: Rows, deadline: float) -> BatchResult:
        """The model's outputs for `rows`.

        Args:
            rows: as for serving.models.batching.batcher.MicroBatcher.submit.
            deadline: time.monotonic() seconds after which the answer is of no use.

        Raises:
            LostError: the process ended while it worked on them.
            DeadlineError: the deadline passed, or would before the process had started.
            ServiceError: the run failed.
        """
        asked = time.monotonic()
        if deadline - asked < self.start_seconds:
            raise DeadlineError("too little time is left to start a process that runs the model for it")
        wanted = [rows]
        try:
            async with asyncio.timeout(max(deadline - asked, 0)):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, wanted, asked, deadline)
        except TimeoutError:
            raise DeadlineError("the deadline passed before the model had run") from None
        finally:
            # The pool keeps what it was given until its thread comes to it, whether anybody still waits or not.
            wanted.clear()

    def close(self) -> None:
        """Ends the process, after the run that is under way."""
        self._pool.submit(self._companion.close)
        self._pool.shutdown(wait=False)

    def _run(self, wanted: list[Rows], asked: float, deadline: float) -> BatchResult:
        """On the thread; `wanted` holds the rows for as long as somebody waits."""
        began = time.monotonic()
        parts = [self._ask(part) for part in _parts(wanted, deadline)]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return BatchResult(outputs, began - asked, time.monotonic() - began)

    def _ask(self, rows: Rows) -> Outputs:
        task = Task(type=rows.dtype.name, shape=list(rows.shape))
        try:
            answer, outputs = self._companion.ask(task, np.ascontiguousarray(rows).data.cast("B"), _take)
        except EndedError as error:
            log.error("a suspect ended the process that ran the model for it (%s)", error)
            raise LostError(f"ended the process that ran the model ({error}); not tried again") from None
        if "error" in answer:
            raise ServiceError(f"the model did not run: {answer['error']}")
        return outputs


def _parts(wanted: list[Rows], deadline: float) -> Iterator[Rows]:
    """As many rows as are run at once, again and again until all were.

    Raises:
        DeadlineError: nobody waits for them any more.
    """
    at, size = 0, 1
    while at < size:
        rows = next(iter(wanted), None)
        if rows is None or time.monotonic() >= deadline:
            raise DeadlineError("the deadline passed before the model could run")
        size = len(rows)
        yield rows[at : at + ROWS]
        at += ROWS


def _take(answer: Answer, read: Read) -> tuple[Answer, Outputs]:
    return answer, {name: _output(read, shape) for name, shape in answer.get("shapes", {}).items()}


def _output(read: Read, shape: list[int]) -> npt.NDArray[np.float32]:
    size = int(np.prod(shape)) * 4
    if not 0 <= size <= _MAX_OUTPUT_BYTES:
        raise ValueError("more than a model answers")
    return np.frombuffer(read(size), np.float32).reshape(shape)
