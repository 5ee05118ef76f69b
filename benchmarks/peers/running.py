"""One server from its start to its end, and the bare processes that stand in the place of one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.peers.bodies import numbered
from benchmarks.peers.doors import DOORS, Door
from benchmarks.peers.environments import NotInstalledError
from benchmarks.peers.loops import Loop, closed, opened, summary
from benchmarks.peers.machine import Clock, memory_mb, tree

_loop = asyncio.Runner()
"""One event loop for all that is asked: gRPC goes on telling a loop of calls that have ended, closed or not."""
ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 90
STOP_SECONDS = 8
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "BENTOML_DO_NOT_TRACK": "True",
    "PYTHONPATH": str(ROOT),
    # Triton's backend links a libpython, which has to be that of the environment's standard library.
    "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
}


def launch(command: Sequence[str], environment: Mapping[str, str], **more: Any) -> subprocess.Popen[Any]:
    """A process in a session of its own, with this repository's modules."""
    variables = {**os.environ, **QUIET, **environment}
    return subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True, **more)


def end(process: subprocess.Popen[Any]) -> None:
    """Asks it to end, and kills it and all that it started where it does not."""
    below = tree([process.pid])
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for left in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.send_signal(signal.SIGKILL)
    process.wait(STOP_SECONDS)


class Server:
    """A context in which a server answers.

    Attributes:
        response, answer: what it said first, as it came and as `Kernels.answer` would have given it.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], door: str, port: int, body: bytes,
        task: str = "recognize", same: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            command: starts it.
            environment: variables on top of this process's.
            door: name of the way in which it is asked.
            port: where it listens.
            body: what is sent.
            task: see `kernels.Plan`.
            same: send the same bytes each time.
        """
        self._command, self._environment, self._door, self._port = command, environment, door, port
        self._body, self._task, self._same = body, task, same
        self._log = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        self._process = launch(self._command, self._environment, stdout=self._log, stderr=subprocess.STDOUT)
        try:
            self.response, self.answer = self._ask_until_it_answers()
        except BaseException:
            end(self._process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process)
        self._log.close()

    @property
    def pids(self) -> list[int]:
        return [self._process.pid]

    def memory_mb(self) -> float:
        """PSS of all of it."""
        return memory_mb(self.pids)

    def closed(self, callers: int, seconds: float) -> Loop:
        """See `loops.closed`."""
        return _loop.run(self._with_door(lambda call: closed(call, callers, seconds, self.pids)))

    def opened(self, rate: float, seconds: float) -> Loop:
        """See `loops.opened`."""
        return _loop.run(self._with_door(lambda call: opened(call, rate, seconds, self.pids)))

    async def _with_door(self, loop: Callable[[Callable[[int], Awaitable[object]]], Awaitable[Loop]]) -> Loop:
        door = DOORS[self._door](self._port)

        async def call(number: int) -> None:
            await door.ask(self._body if self._same else numbered(self._body, number, self._task))

        try:
            return await loop(call)
        finally:
            await door.close()

    def _ask_until_it_answers(self) -> tuple[Any, Any]:
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                return _loop.run(self._ask_once())
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise NotInstalledError(f"{self._last_words() or error}") from error
                time.sleep(0.2)

    async def _ask_once(self) -> tuple[Any, Any]:
        door: Door = DOORS[self._door](self._port)
        try:
            async with asyncio.timeout(10):
                response = await door.ask(self._body)
                return response, door.read(response)
        finally:
            await door.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line]
        return (errors or lines or [""])[-1][:300]


class Bare:
    """Processes that answer as fast as they can, without a server."""

    def __init__(self, python: Path, environment: Mapping[str, str], processes: int, batch: int, body: bytes) -> None:
        command = [str(python), "-m", "benchmarks.peers.servers.bare", str(batch)]
        self._start = [(command, environment)] * processes
        self._file = tempfile.NamedTemporaryFile(suffix=".body")  # noqa: SIM115
        self._file.write(body)
        self._file.flush()

    def __enter__(self) -> Self:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._processes = [launch(command, environment, **pipes) for command, environment in self._start]
        try:
            self.answer = self._tell("check")[0]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            end(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._file.close()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def memory_mb(self) -> float:
        """PSS of all of them."""
        return memory_mb(self.pids)

    def closed(self, callers: int, seconds: float) -> Loop:
        """As a server's; there are no callers: each process has its next image at once."""
        self._tell(f"{seconds / 4}")
        before = Clock.read(self.pids)
        parts = self._tell(f"{seconds}")
        latencies = [ms for part in parts for ms in part["ms"]]
        return summary(latencies, before, Clock.read(self.pids), 0, sum(part["images"] for part in parts))

    def _tell(self, what: str) -> list[Any]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{what} {self._file.name}\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise NotInstalledError("the bare process died")
            answers.append(json.loads(line))
        return answers
