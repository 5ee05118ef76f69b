"""The cluster that faults happen to: real processes, with proxies before each detector and before Redis."""

from __future__ import annotations

import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.signals import send
from benchmarks.peers.redis import valkey
from cli.cluster import ClusterSettings
from cli.cluster.plan import plan
from cli.cluster.supervisor import Member, State, Supervisor, Timing
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

READY_SECONDS = 180


@dataclass(slots=True)
class Stage:
    """A running cluster.

    Attributes:
        address: of its gateway.
        redis: before the cache's Valkey.
        detectors: before each replica of the detector, by name.
        folder: for what a fault needs.
    """

    address: str
    redis: Proxy
    detectors: dict[str, Proxy]
    folder: Path
    _supervisor: Supervisor
    flush: Callable[[], None]

    def members(self, service: str) -> list[Member]:
        """The replicas of a service: `gateway`, `ensembler`, `detector`, `classifier-arcface`..."""
        return [m for m in self._supervisor.members if re.sub(r"-\d+$", "", m.spec.name) == service]

    def pids(self, service: str) -> list[int]:
        """Of the replicas that run."""
        return [m.process.pid for m in self.members(service) if m.state in {State.STARTING, State.READY}]

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL, replica: int = 0) -> int:
        """Sends a signal to one replica; returns its pid."""
        pid = self.members(service)[replica].process.pid
        send(pid, number)
        return pid

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses of all metrics, by name of the process."""
        return {m.spec.name: m.spec.metrics for m in self._supervisor.members if m.spec.metrics}

    def settle(self) -> None:
        """Waits until everything is ready and the gateway answers well.

        Raises:
            TimeoutError: it does not.
        """
        give_up = time.monotonic() + READY_SECONDS
        while not self._well():
            if time.monotonic() > give_up:
                raise TimeoutError("the cluster does not recover")
            time.sleep(0.1)

    def _well(self) -> bool:
        if any(m.state is not State.READY for m in self._supervisor.members):
            return False
        with grpc.insecure_channel(target(self.address), channel_options("chaos")) as channel:
            try:
                stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
                status = stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
            except grpc.RpcError:
                return False
        return all(variant.healthy and variant.fingerprint for variant in status.variants)


@contextmanager
def stage(models_dir: Path, replicas: int, say: Callable[[str], None] = lambda text: None) -> Iterator[Stage]:
    """Starts a cluster with so many replicas of the ensembler and of each model's service; one gateway.

    Raises:
        ClusterError: it does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferry-chaos-")))
        socket = stack.enter_context(valkey(folder))
        redis = stack.enter_context(Proxy(str(socket)))
        settings = ClusterSettings(
            port=0,
            models_dir=models_dir,
            replicas={"ensembler": replicas, "detector": replicas, "classifier": replicas},
            redis_url=f"redis://127.0.0.1:{redis.port}",
            log_level="warning",
            threads=1,
            grace=5.0,
        )
        specs = plan(settings, folder)
        detectors = {}
        recipe = folder / "recipe.json"
        text = recipe.read_text()
        for spec in specs:
            if spec.name.startswith("detector"):
                proxy = detectors[spec.name] = stack.enter_context(Proxy(spec.address))
                text = text.replace(spec.address, f"127.0.0.1:{proxy.port}")
        recipe.write_text(text)
        logs = folder / "logs"
        logs.mkdir()
        # A replica that is killed for the tenth time starts as soon as one that is killed for the first time.
        supervisor = Supervisor(specs, logs, Timing(startup=READY_SECONDS, drain=10, max_backoff=0.5), say)
        supervisor.start()
        stack.callback(supervisor.stop)
        running = Stage(specs[0].address, redis, detectors, folder, supervisor, lambda: _flush(socket))
        running.settle()
        yield running


def _flush(socket: Path) -> None:
    """Empties Valkey, as one that takes another's place is empty."""
    from redis import Redis

    client = Redis(unix_socket_path=str(socket))
    client.flushall()
    client.close()
