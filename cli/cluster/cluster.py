"""A whole Ferry cluster on this machine, from the first process to the last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.cluster import ports
from cli.cluster.errors import ClusterError
from cli.cluster.plan import plan
from cli.cluster.process import ProcessSpec
from cli.cluster.settings import ClusterSettings
from cli.cluster.supervisor import Supervisor, Timing

_DEEPEST = 64
"""Bytes of the path of the folder for temporary files."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A process of the cluster and where it is reached.

    Attributes:
        name: such as `gateway`, `classifier-arcface` or `detector-2`.
        address: `host:port`, or `unix:///...` for Valkey.
        metrics: address of its Prometheus metrics, `host:port`; empty: none.
        pid: of the process that runs now.
        state: `starting`, `ready`, `waiting` (for its restart) or `stopped`.
        restarts: how often it has been started again.
    """

    name: str
    address: str
    metrics: str
    pid: int
    state: str
    restarts: int


def private_folder() -> Path:
    """A new folder for this user alone, since whoever can open a socket in it can read the cache; in /tmp where other
    temporary files lie too deep for the path of a socket, which has some hundred bytes."""
    deep = len(os.fsencode(tempfile.gettempdir())) > _DEEPEST
    return Path(tempfile.mkdtemp(prefix="ferry-", dir="/tmp" if deep else None))  # noqa: S108


class Cluster:
    """Runs from `start` to `stop`, or as a context manager.

    Example:
        >>> with Cluster(ClusterSettings(port=0)) as cluster, Client(cluster.address) as client:
        ...     client.recognize("photo.jpg")
    """

    def __init__(
        self, settings: ClusterSettings | None = None, report: Callable[[str], None] = lambda message: None
    ) -> None:
        """
        Args:
            settings: see there.
            report: is told what happens (`detector is ready`), from another thread.
        """
        self.settings = settings or ClusterSettings()
        self.specs: tuple[ProcessSpec, ...] = ()
        self.log_dir = Path()
        self._report = report
        self._folder: Path | None = None
        self._supervisor: Supervisor | None = None
        self._port = ExitStack()
        """Lets go of it."""

    def start(self) -> None:
        """Starts every process and returns when all are SERVING.

        Raises:
            ClusterError: a model or a port is missing, a process died, or was not ready in time; nothing is left
                running, and the logs are left where `log_dir` says.
        """
        self._folder = private_folder()
        self.log_dir = self.settings.log_dir or self._folder / "logs"
        logs_tell = False
        try:
            self.specs = tuple(plan(self.settings, self._folder))
            self._port.enter_context(ports.hold(self.settings.host, int(self.address.rpartition(":")[2])))
            self.log_dir.mkdir(parents=True, exist_ok=True)
            timing = Timing(startup=self.settings.startup_timeout, drain=self.settings.grace + 5)
            self._supervisor = Supervisor(self.specs, self.log_dir, timing, self._report)
            try:
                self._supervisor.start()
            except ClusterError:  # and not Ctrl-C, where nothing has gone wrong that the logs could explain
                logs_tell = True
                raise
        except BaseException:
            self._clear(logs_tell)
            raise

    def stop(self) -> bool:
        """Drains gateway, ensembler, models and Valkey in this order; True when nothing had to be killed."""
        if self._supervisor is None:
            return True
        clean = self._supervisor.stop()
        self._clear(logs_tell=not clean)
        return clean

    def request_stop(self) -> None:
        """Makes a `start` that is under way, in another thread, give up. Safe in a signal handler."""
        if self._supervisor is not None:
            self._supervisor.request_stop()

    def kill(self) -> None:
        """Makes a `stop` that is under way end at once. Safe in a signal handler."""
        if self._supervisor is not None:
            self._supervisor.kill()

    @property
    def running(self) -> bool:
        """True from a successful `start` until the processes are stopped."""
        return self._supervisor is not None and self._supervisor.running

    @property
    def address(self) -> str:
        """The gateway's, `host:port`."""
        return self.specs[0].address

    @property
    def http(self) -> str:
        """Where the gateway speaks HTTP, `host:port`; empty: nowhere."""
        return self.specs[0].http

    @property
    def endpoints(self) -> list[Endpoint]:
        """Every process, the gateway first."""
        if self._supervisor is None:
            return []
        return [
            Endpoint(m.spec.name, m.spec.address, m.spec.metrics, m.process.pid, str(m.state), m.restarts)
            for m in self._supervisor.members
        ]

    def endpoint(self, name: str) -> Endpoint:
        """The process called `name`.

        Raises:
            KeyError: there is none.
        """
        found = {endpoint.name: endpoint for endpoint in self.endpoints}
        return found[name]

    def _clear(self, logs_tell: bool) -> None:
        """Lets go of the port, and removes the folder unless its logs say what went wrong."""
        self._port.close()
        if self._folder is not None and not logs_tell:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
