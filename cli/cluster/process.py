"""One supervised process: how it is started, told to stop, killed, and what its log says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to run.

    Attributes:
        name: unique in its cluster, such as `detector-2`; names the log file.
        command: `("-m", module, argument, ...)` or `(executable, argument, ...)`.
        is_ready: True when the process can do its work; asked often, must answer within about a second.
        stage: processes of a lower stage are stopped before those of a higher one.
        address: where it is called, `host:port` or a path.
        metrics: address of its Prometheus metrics; empty: none.
        http: where it speaks HTTP, `host:port`; empty: nowhere.
        environment: variables that it has beside ours. Secrets go here: everybody on the machine sees the command.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    stage: int = 0
    address: str = ""
    metrics: str = ""
    http: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class Process:
    """A running process. Must be started by a thread that outlives it: it dies with that thread (see launch.py)."""

    def __init__(self, spec: ProcessSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        with log_path.open("ab") as log:
            # An own session: Ctrl-C in the terminal reaches the supervisor alone.
            self._popen = subprocess.Popen(
                [sys.executable, "-P", str(_LAUNCH), str(os.getpid()), *spec.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(spec.environment),
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def terminate(self) -> None:
        """Asks it to finish its work and stop."""
        if self.exit_code is None:
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it and its children at once, and waits until it is gone."""
        if self.exit_code is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._popen.kill()
            self._popen.wait()

    def log_tail(self, lines: int = 12) -> str:
        """The last lines that it wrote since it was started."""
        with self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    # Calls between the processes never go through an HTTP proxy.
    return {**os.environ, "no_grpc_proxy": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1", **own}
