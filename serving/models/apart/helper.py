"""Asks the process in which a model runs for suspects, and bears its end."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.bare_environment import bare_environment
from serving.errors import DeadlineError, LostError, ServiceError
from serving.models.apart.program import SECONDS, Answer, Task
from serving.models.backends.base import Outputs, Rows
from serving.models.batching.batcher import BatchResult

log = logging.getLogger(__name__)

PROGRAM = "serving.models.apart.program"
ROWS = 8
"""Of one run: few, so that it takes little memory beside the model."""
_WALL_SECONDS = SECONDS + 10.0
"""For one run, a start of the process included."""
_MAX_OUTPUT_BYTES = 256 << 20


class ModelApart:
    """Runs of one model version, where nothing of this process is at stake: in float32, with one thread, one suspect
    after the other. Belongs to the event loop that uses it."""

    def __init__(self, file: Path, program: str = PROGRAM) -> None:
        """
        Args:
            file: the .onnx file.
            program: the module that runs it.
        """
        self._command = [sys.executable, "-m", program, str(file)]
        self._pool: ThreadPoolExecutor | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def run(self, rows: Rows, deadline: float) -> BatchResult:
        """The model's outputs for `rows`.

        Args:
            rows: as for serving.models.batching.batcher.MicroBatcher.submit.
            deadline: time.monotonic() seconds after which the answer is of no use.

        Raises:
            LostError: the process ended while it worked on them.
            DeadlineError: the deadline passed.
            ServiceError: the run failed.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="run-apart")
        asked = time.monotonic()
        try:
            async with asyncio.timeout(max(deadline - asked, 0)):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, rows, asked, deadline)
        except TimeoutError:
            raise DeadlineError("the deadline passed before the model had run") from None

    def close(self) -> None:
        """Ends the process, after the run that is under way."""
        if self._pool is not None:
            self._pool.submit(self._end)
            self._pool.shutdown(wait=False)

    def _run(self, rows: Rows, asked: float, deadline: float) -> BatchResult:
        began = time.monotonic()
        if began >= deadline:
            raise DeadlineError("the deadline passed before the model could run")
        parts = [self._ask(rows[start : start + ROWS]) for start in range(0, len(rows), ROWS)]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return BatchResult(outputs, began - asked, time.monotonic() - began)

    def _ask(self, rows: Rows) -> Outputs:
        for _ in range(2):  # it ends when it is idle, which may be now
            process = self._running()
            timer = threading.Timer(_WALL_SECONDS, process.kill)
            timer.start()
            try:
                answer, outputs = _exchange(process, rows)
                break
            except (OSError, EOFError, ValueError):
                code = _end_of(process)
                if code == 0:
                    continue
                log.error("a suspect ended the process that ran the model for it (%s)", code)
                raise LostError(f"ended the process that ran the model ({code}); not tried again") from None
            finally:
                timer.cancel()
        else:
            raise ServiceError("the process that runs models for suspects does not answer")
        if "error" in answer:
            raise ServiceError(f"the model did not run: {answer['error']}")
        return outputs

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bare_environment()
        )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _end_of(process: subprocess.Popen[bytes]) -> int:
    """What a process ended with that has closed its pipes, or talks nonsense; 0: nobody asked it for a while."""
    try:
        return process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _exchange(process: subprocess.Popen[bytes], rows: Rows) -> tuple[Answer, Outputs]:
    """
    Raises:
        OSError, EOFError, ValueError: the process has ended, or answers nonsense.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    task = Task(type=rows.dtype.name, shape=list(rows.shape))
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.write(np.ascontiguousarray(rows).data.cast("B"))
    process.stdin.flush()
    line = process.stdout.readline(1 << 16)
    if not line:
        raise EOFError("without an answer")
    answer: Answer = json.loads(line)
    return answer, {name: _output(process, shape) for name, shape in answer.get("shapes", {}).items()}


def _output(process: subprocess.Popen[bytes], shape: list[int]) -> npt.NDArray[np.float32]:
    assert process.stdout is not None
    size = int(np.prod(shape)) * 4
    if not 0 <= size <= _MAX_OUTPUT_BYTES:
        raise ValueError("more than a model answers")
    data = process.stdout.read(size)
    if len(data) < size:
        raise EOFError("in the middle of an answer")
    return np.frombuffer(data, np.float32).reshape(shape)
