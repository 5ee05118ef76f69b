"""The cluster that faults happen to: real processes, with proxies before each detector and before Redis."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import grpc

from benchmarks.chaos import clock, disk
from benchmarks.chaos.dns import Names
from benchmarks.chaos.outcome import Finding
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.signals import send
from cli.cluster import ClusterSettings, ports
from cli.cluster.health import is_serving
from cli.cluster.plan import CACHE, plan
from cli.cluster.process import ProcessSpec
from cli.cluster.supervisor import Member, State, Supervisor, Timing
from cli.cluster.valkey import valkey_spec
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc

READY_SECONDS = 180
BY_NAME = "classifier-arcface"
"""The service whose replicas have addresses of their own and are found by a name, as those of Kubernetes are."""
ENVIRONMENT = {"FERRY_RELOAD_INTERVAL": "1"}
"""Of all processes. How soon a promoted version is noticed is no fault."""


@dataclass(slots=True)
class Stage:
    """A running cluster.

    Attributes:
        addresses: of its gateways.
        redis: before the cache's Valkey.
        detectors: before each replica of the detector, by name.
        names: what the name of BY_NAME's replicas leads to.
        spare: a replica of BY_NAME that does not run.
        folder: for what a fault needs.
        models: the cluster's own copy of the model repository.
        disk: a small disk with logs, caches and temporary files; None: there can be none here.
        clock: of all processes; None: it is the machine's.
        notes: what a fault found out by itself; emptied before each.
    """

    addresses: tuple[str, ...]
    redis: Proxy
    detectors: dict[str, Proxy]
    names: Names
    spare: ProcessSpec
    folder: Path
    models: Path
    disk: Path | None
    clock: clock.Clock | None
    _supervisor: Supervisor
    notes: list[Finding] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of all gateways, as callers give it."""
        return ",".join(self.addresses)

    @property
    def socket(self) -> Path:
        """Where Valkey listens."""
        return self.folder / "valkey.sock"

    def members(self, service: str) -> list[Member]:
        """The replicas of a service: `gateway`, `ensembler`, `detector`, `classifier-arcface`..., or `valkey`."""
        return [m for m in self._supervisor.members if re.sub(r"-\d+$", "", m.spec.name) == service]

    def pids(self, service: str = "") -> list[int]:
        """Of the replicas that run; without a service, of everything that does."""
        members = self.members(service) if service else self._supervisor.members
        return [m.process.pid for m in members if m.state in {State.STARTING, State.READY}]

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL, replica: int = 0) -> int:
        """Sends a signal to one replica; returns its pid."""
        pid = self.members(service)[replica].process.pid
        send(pid, number)
        return pid

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses of all metrics, by name of the process."""
        return {m.spec.name: m.spec.metrics for m in self._supervisor.members if m.spec.metrics}

    def settle(self, seconds: float = READY_SECONDS) -> None:
        """Waits until everything is ready and all gateways answer well.

        Raises:
            TimeoutError: it does not.
        """
        give_up = time.monotonic() + seconds
        while not self._well():
            if time.monotonic() > give_up:
                states = ", ".join(f"{m.spec.name} {m.state}" for m in self._supervisor.members)
                raise TimeoutError(f"the cluster does not recover: {states}")
            time.sleep(0.1)

    def _well(self) -> bool:
        if any(m.state is not State.READY for m in self._supervisor.members):
            return False
        return all(_status_is_well(address) for address in self.addresses)


def _status_is_well(address: str) -> bool:
    with grpc.insecure_channel(target(address), channel_options("chaos")) as channel:
        try:
            stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
            status = stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return status.cache.redis_available and all(variant.healthy and variant.fingerprint for variant in status.variants)


@contextmanager
def stage(
    models_dir: Path, replicas: int, *, own_clock: bool = False, say: Callable[[str], None] = lambda text: None
) -> Iterator[Stage]:
    """Starts a cluster with so many replicas of the gateway, the ensembler and of each model's service.

    Args:
        models_dir: the model repository; it is copied.
        replicas: of each.
        own_clock: give the processes a clock that can be set.
        say: is told what happens to processes.

    Raises:
        ClusterError: it does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferry-chaos-")))
        models = Path(shutil.copytree(models_dir, folder / "models"))
        small = stack.enter_context(disk.small(folder / "disk"))
        faked = clock.Clock(folder / "clock") if own_clock else None
        values = ENVIRONMENT | _places(small) | ({} if faked is None else faked.environment)
        redis = stack.enter_context(Proxy(str(folder / "valkey.sock")))
        settings = ClusterSettings(
            port=0,
            models_dir=models,
            replicas={"ensembler": replicas, "detector": replicas, "classifier": replicas},
            redis_url=f"redis://127.0.0.1:{redis.port}",
            log_level="warning",
            threads=1,
            grace=5.0,
        )
        specs = _gateways(plan(settings, folder), replicas)
        names = stack.enter_context(Names())
        specs, spare = _named(specs, names, folder / "recipe.json")
        detectors = {s.name: stack.enter_context(Proxy(s.address)) for s in specs if s.name.startswith("detector")}
        _replace(folder / "recipe.json", {s.address: detectors[s.name] for s in specs if s.name in detectors})
        logs = (small or folder) / "logs"
        logs.mkdir()
        # A replica that is killed for the tenth time starts as soon as one that is killed for the first time.
        timing = Timing(startup=READY_SECONDS, drain=10, max_backoff=0.5)
        processes = [_with(values, spec) for spec in (*specs, valkey_spec(folder, CACHE))]
        supervisor = Supervisor(processes, logs, timing, say)
        supervisor.start()
        stack.callback(supervisor.stop)
        gateways = tuple(spec.address for spec in specs if spec.name.startswith("gateway"))
        spare = _with(values, spare)
        running = Stage(gateways, redis, detectors, names, spare, folder, models, small, faked, supervisor)
        running.settle()
        yield running


def _places(small: Path | None) -> dict[str, str]:
    """Environment by which what processes write beside models goes to the small disk."""
    if small is None:
        return {}
    for name in ("tmp", "cache"):
        (small / name).mkdir()
    return {"TMPDIR": str(small / "tmp"), "XDG_CACHE_HOME": str(small / "cache")}


def _gateways(specs: Sequence[ProcessSpec], count: int) -> list[ProcessSpec]:
    """With further gateways beside the first."""
    first, *others = specs
    return [first, *(another(first, f"gateway-{number}") for number in range(2, count + 1)), *others]


def another(spec: ProcessSpec, name: str, host: str = "127.0.0.1", port: int = 0) -> ProcessSpec:
    """One more process of that kind, on another address.

    Args:
        spec: of the first.
        name: its own.
        host: where it listens.
        port: likewise; 0: a free one.
    """
    free, metrics = ports.free(2)
    port = port or free
    command = list(spec.command)
    for flag, value in (("--host", host), ("--port", port), ("--metrics-port", metrics)):
        command[command.index(flag) + 1] = str(value)
    address = f"{host}:{port}"
    return replace(
        spec,
        name=name,
        command=tuple(command),
        is_ready=partial(is_serving, address),
        address=address,
        metrics=f"{host}:{metrics}",
    )


def _named(specs: Sequence[ProcessSpec], names: Names, recipe: Path) -> tuple[list[ProcessSpec], ProcessSpec]:
    """Gives the replicas of BY_NAME addresses behind a name, and one more of them that is to be started later."""
    (port,) = ports.free(1)
    moved: list[ProcessSpec] = []
    before = [spec for spec in specs if spec.name.startswith(BY_NAME)]
    hosts = [f"127.0.1.{index + 1}" for index in range(len(before) + 1)]
    moved = [another(spec, spec.name, host, port) for spec, host in zip(before, hosts, strict=False)]
    spare = another(before[0], f"{BY_NAME}-{len(before) + 1}", hosts[-1], port)
    names.addresses = hosts[:-1]
    fields = json.loads(recipe.read_text())
    for entry in fields["classifiers"]:
        if f"classifier-{entry['name']}" == BY_NAME:
            entry["address"] = f"dns://127.0.0.1:{names.port}/{BY_NAME}.ferry:{port}"
    recipe.write_text(json.dumps(fields))
    kept = [spec for spec in specs if not spec.name.startswith(BY_NAME)]
    return [*kept, *moved], spare


def _replace(recipe: Path, proxies: dict[str, Proxy]) -> None:
    text = recipe.read_text()
    for address, proxy in proxies.items():
        text = text.replace(address, f"127.0.0.1:{proxy.port}")
    recipe.write_text(text)


def _with(values: dict[str, str], spec: ProcessSpec) -> ProcessSpec:
    """The same with these variables in its environment."""
    pairs = [f"{name}={value}" for name, value in values.items()]
    program = (sys.executable, "-P", *spec.command) if spec.command[0] == "-m" else spec.command
    return replace(spec, command=("/usr/bin/env", *pairs, *program))
