"""Keeps a set of processes running: starts them, waits until they are ready, restarts what dies, drains in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cli.cluster.errors import ClusterError
from cli.cluster.process import Process, ProcessSpec, describe_exit

_TICK = 0.05
_STEADY_SECONDS = 30.0
"""A process that has been ready for so long starts again at the first back-off when it dies."""


class State(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: until everything must be ready, for a stage to stop by itself, first and longest restart delay."""

    startup: float = 120.0
    drain: float = 25.0
    backoff: float = 0.5
    max_backoff: float = 30.0


@dataclass(slots=True)
class Member:
    """A process of the set, through all its restarts."""

    spec: ProcessSpec
    process: Process
    state: State = State.STARTING
    restarts: int = 0
    since: float = field(default_factory=time.monotonic)
    """When the state began; for WAITING, when it ends."""
    failures: int = 0
    """Deaths in a row, for the back-off."""


class Supervisor:
    """Owns one thread, which starts every process, so that they die with this program and not before.

    Args:
        specs: the processes; all are started at once, those of the lowest stage are stopped first.
        log_dir: an existing folder for `<name>.log`.
        timing: see there.
        report: is told what happens, in words, from the supervisor's thread.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        log_dir: Path,
        timing: Timing | None = None,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.members: list[Member] = []
        self._specs = tuple(specs)
        self._log_dir = log_dir
        self._timing = timing or Timing()
        self._report = report
        self._started = threading.Event()
        self._stop = threading.Event()
        self._kill = threading.Event()
        self._failure: Exception | None = None
        self._clean = True
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Starts all processes and returns when all are ready.

        Raises:
            ClusterError: one died, or was not ready in time; all are stopped again.
        """
        self._thread.start()
        try:
            self._started.wait()
        except BaseException:
            self.stop()
            raise
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    @property
    def running(self) -> bool:
        """True until the processes are stopped, for whatever reason."""
        return self._thread.is_alive()

    def stop(self) -> bool:
        """Stops all processes, stage by stage; True when none had to be killed."""
        self._stop.set()
        self._thread.join()
        return self._clean

    def request_stop(self) -> None:
        """Makes a `start` that is under way give up, and begins to drain. Safe in a signal handler."""
        self._stop.set()

    def kill(self) -> None:
        """Makes a `stop` that is under way, in another thread, end at once. Safe in a signal handler."""
        self._kill.set()
        self._stop.set()

    def _run(self) -> None:
        try:
            for spec in self._specs:
                self.members.append(Member(spec, self._spawn(spec)))
            self._await_ready()
            self._started.set()
            while not self._stop.wait(_TICK):
                for member in self.members:
                    self._watch(member)
        except Exception as error:
            self._failure = error
        finally:
            self._drain()
            self._started.set()

    def _spawn(self, spec: ProcessSpec) -> Process:
        return Process(spec, self._log_dir / f"{spec.name}.log")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self._timing.startup
        while waiting := [member for member in self.members if member.state is State.STARTING]:
            for member in self.members:
                code = member.process.exit_code
                if code is not None:
                    raise ClusterError(
                        f"{member.spec.name} {describe_exit(code)} while starting", member.process.log_tail()
                    )
            for member in waiting:
                self._check_ready(member)
            if time.monotonic() > deadline:
                names = ", ".join(member.spec.name for member in waiting)
                raise ClusterError(
                    f"{names} not ready within {self._timing.startup:g} s", waiting[0].process.log_tail()
                )
            if self._stop.wait(_TICK):
                raise ClusterError("stopped while starting")

    def _check_ready(self, member: Member) -> None:
        if member.spec.is_ready():
            member.state, member.since = State.READY, time.monotonic()
            self._report(f"{member.spec.name} is ready")

    def _watch(self, member: Member) -> None:
        now = time.monotonic()
        if member.state is State.WAITING:
            if now >= member.since:
                self._restart(member)
            return
        code = member.process.exit_code
        if code is None:
            if member.state is State.STARTING:
                self._check_ready(member)
            return
        if member.state is State.READY and now - member.since >= _STEADY_SECONDS:
            member.failures = 0
        self._restart_later(member, describe_exit(code))

    def _restart(self, member: Member) -> None:
        try:
            member.process = self._spawn(member.spec)
        except OSError as error:
            self._restart_later(member, f"cannot be started ({error})")
            return
        member.restarts += 1
        member.state, member.since = State.STARTING, time.monotonic()

    def _restart_later(self, member: Member, reason: str) -> None:
        delay = min(self._timing.backoff * 2**member.failures, self._timing.max_backoff)
        member.failures = min(member.failures + 1, 16)
        member.state, member.since = State.WAITING, time.monotonic() + delay
        self._report(f"{member.spec.name} {reason}; starting it again in {delay:g} s")

    def _drain(self) -> None:
        for stage in sorted({member.spec.stage for member in self.members}):
            processes = [member.process for member in self.members if member.spec.stage == stage]
            for process in processes:
                process.terminate()
            deadline = time.monotonic() + (self._timing.drain if self._failure is None else _TICK * 20)
            while any(process.exit_code is None for process in processes):
                if self._kill.is_set() or time.monotonic() > deadline:
                    break
                time.sleep(_TICK / 5)
            for process in processes:
                if process.exit_code is None:
                    self._clean = False
                    process.kill()
                    if self._failure is None:  # in the middle of a start few of them listen to a request
                        self._report(f"{process.spec.name} did not stop by itself and was killed")
        for member in self.members:
            member.state = State.STOPPED
