"""From settings to the processes of a cluster: names, ports, flags, and the order in which they stop."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from cli.cluster import ports
from cli.cluster.errors import ClusterError
from cli.cluster.guard import Guard
from cli.cluster.health import is_serving
from cli.cluster.process import ProcessSpec
from cli.cluster.recipe import recipe
from cli.cluster.settings import ClusterSettings
from cli.cluster.valkey import valkey_spec
from serving.cpu import available_cpus

LOOPBACK = "127.0.0.1"
GATEWAY, ENSEMBLER, MODELS, CACHE = range(4)
"""Stages: who calls stops before who is called."""
_NOWHERE = "local:here"
"""In a recipe whose models are in the process that reads it."""
GATEWAY_DRAIN_SECONDS, DRAIN_SECONDS = 0.5, 0.2
"""A gateway, and what is behind it, go on listening that long when they stop: a call that is just arriving is answered,
not cut off. Who calls what is behind hears by its health within milliseconds that it stops."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A process-to-be with its ports."""

    service: str
    replica: int
    port: int
    metrics_port: int

    @property
    def name(self) -> str:
        return self.service if self.replica == 1 else f"{self.service}-{self.replica}"

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"


def plan(settings: ClusterSettings, folder: Path) -> list[ProcessSpec]:
    """The processes of the cluster, the gateway first.

    Args:
        settings: see there.
        folder: an existing private folder for the recipe and the embedded Valkey's socket.

    Raises:
        ClusterError: a model or a port is missing.
    """
    check_models(settings)
    chosen = ports.Chosen()
    if settings.processes:
        return _whole(settings, folder, chosen)
    slots = _slots(settings, chosen)
    health = dict(zip(slots, _others(slots), strict=True)) if Guard.of_environment().tls else {}
    addresses = {
        service: ",".join(slot.address for slot in slots if slot.service == service)
        for service in {slot.service for slot in slots}
    }
    recipe_path = folder / "recipe.json"
    classifier_addresses = {name: addresses[f"classifier-{name}"] for name in settings.classifiers}
    recipe_path.write_text(recipe(settings, addresses["detector"], classifier_addresses))

    store_flags, urls, specs = _stores(settings, folder)
    flags: dict[str, tuple[int, str, list[str]]] = {
        "gateway": (GATEWAY, "gateway", ["--ensembler-address", addresses["ensembler"], *store_flags]),
        "ensembler": (ENSEMBLER, "services.ensembler", ["--recipe", str(recipe_path)]),
        "detector": (MODELS, "services.detector", ["--model", settings.detector, *_model_flags(settings)]),
    }
    for name in settings.classifiers:
        model_flags = ["--models", name, *_model_flags(settings)]
        flags[f"classifier-{name}"] = (MODELS, "services.classifier", model_flags)
    gateway, *others = (_spec(settings, slot, *flags[slot.service], health_port=health.get(slot)) for slot in slots)
    gateway = replace(_with_http(gateway, others, settings, chosen), environment=urls)
    return [gateway, *others, *specs]


def _whole(settings: ClusterSettings, folder: Path, chosen: ports.Chosen) -> list[ProcessSpec]:
    """Processes that hold all services each. Where they share a port or speak TLS, each has another for its health."""
    n = settings.processes
    shares = n > 1
    own_health = shares or Guard.of_environment().tls
    first_metrics = 0 if settings.port == 0 else settings.metrics_port
    free = iter(ports.free(2 * n + 1))
    port = settings.port or next(free)
    if settings.port:
        chosen.following(settings.host, port, 1, "--port")
    metrics_ports = (
        chosen.following(settings.host, first_metrics, n, "--metrics-port", others=settings.host)
        if first_metrics
        else [*islice(free, n)]
    )
    recipe_path = folder / "recipe.json"
    here = dict.fromkeys(settings.classifiers, _NOWHERE)
    recipe_path.write_text(recipe(settings, _NOWHERE, here))
    store_flags, urls, specs = _stores(settings, folder)
    flags = ["--recipe", str(recipe_path), *store_flags, *_model_flags(settings)]
    if shares:
        flags.append("--reuse-port")
    cpus = available_cpus()
    made = []
    for replica, metrics_port in enumerate(metrics_ports, start=1):
        slot = _Slot("ferry", replica, port, metrics_port)
        health_port = next(free) if own_health else None
        # Where each took all CPUs for its models, their runs would take them, and the caches, from each other.
        share = ["--cpus", str(max(1, cpus // n + (replica <= cpus % n)))] if shares else []
        spec = _spec(settings, slot, GATEWAY, "single", [*flags, *share], health_port=health_port)
        made.append(replace(spec, environment=urls))
    return [_with_http(made[0], made[1:], settings, chosen), *made[1:], *specs]


def check_models(settings: ClusterSettings) -> None:
    """
    Raises:
        ClusterError: a model that the cluster needs is not in the repository.
    """
    for name in (settings.detector, *settings.classifiers):
        if not (settings.models_dir / name).is_dir():
            raise ClusterError(
                f"there is no model {name!r} in {settings.models_dir}; say where the models are with "
                "--models-dir, or make one (`ferry models --help`)"
            )


def _slots(settings: ClusterSettings, chosen: ports.Chosen) -> list[_Slot]:
    classifiers = [f"classifier-{name}" for name in settings.classifiers]
    counts = {
        "gateway": 1,
        "ensembler": settings.replicas_of("ensembler"),
        "detector": settings.replicas_of("detector"),
        **{f"classifier-{name}": settings.replicas_of(name, classifier=True) for name in settings.classifiers},
    }
    wanted = [(service, 1) for service in ("gateway", "ensembler", "detector", *classifiers)]
    wanted += [(service, replica) for service, count in counts.items() for replica in range(2, count + 1)]
    n = len(wanted)
    free = iter(ports.free(2 * n) if 0 in {settings.port, settings.metrics_port} else [])
    grpc_ports = chosen.following(settings.host, settings.port, n, "--port") if settings.port else [*islice(free, n)]
    # Without fixed ports for the services there is none for their metrics: two clusters may run side by side.
    first_metrics = 0 if settings.port == 0 else settings.metrics_port
    metrics_ports = (
        chosen.following(settings.host, first_metrics, n, "--metrics-port") if first_metrics else [*islice(free, n)]
    )
    return [
        _Slot(service, replica, port, metrics_port)
        for (service, replica), port, metrics_port in zip(wanted, grpc_ports, metrics_ports, strict=True)
    ]


def _others(slots: Sequence[_Slot]) -> list[int]:
    """A free port for each that none of them has."""
    taken = {port for slot in slots for port in (slot.port, slot.metrics_port)}
    return [port for port in ports.free(3 * len(slots)) if port not in taken][: len(slots)]


_Stores: TypeAlias = tuple[list[str], dict[str, str], list[ProcessSpec]]
"""The gateway's flags, its variables with URLs, which may hold a password, and the embedded Valkeys."""


def _stores(settings: ClusterSettings, folder: Path) -> _Stores:
    """For cache and jobs."""
    cache_flags, cache_urls, cache_specs = _cache(settings, folder)
    job_flags, job_urls, job_specs = _jobs(settings, folder)
    return [*cache_flags, *job_flags], {**cache_urls, **job_urls}, [*cache_specs, *job_specs]


def _jobs(settings: ClusterSettings, folder: Path) -> _Stores:
    if not settings.jobs:
        return [], {}, []
    key = settings.jobs_key
    if key is None:
        key = folder / "jobs.key"
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32))
    specs = []
    url = settings.jobs_redis_url
    if url is None:
        specs.append(valkey_spec(folder, CACHE, name="valkey-jobs", forgets=False))
        url = specs[0].address
    return ["--jobs-key", str(key.resolve())], {"FERRY_JOBS_REDIS_URL": url}, specs


def _cache(settings: ClusterSettings, folder: Path) -> _Stores:
    if not settings.cache:
        return ["--no-cache-enabled"], {}, []
    if settings.redis_url is not None:
        return ["--cache-enabled"], {"FERRY_REDIS_URL": settings.redis_url}, []
    if not settings.embedded_redis:
        return ["--cache-enabled"], {}, []
    valkey = valkey_spec(folder, CACHE)
    return ["--cache-enabled"], {"FERRY_REDIS_URL": valkey.address}, [valkey]


def _model_flags(settings: ClusterSettings) -> list[str]:
    flags = ["--models-dir", str(settings.models_dir.resolve())]
    if settings.optimized:
        flags.append("--optimized")
    if settings.device is not None:
        flags += ["--device", settings.device]
    if settings.engine_cache is not None:
        flags += ["--engine-cache", str(settings.engine_cache.resolve())]
    if settings.batch_size is not None:
        flags += ["--max-batch", str(settings.batch_size)]
    if settings.threads is not None:
        flags += ["--threads", str(settings.threads)]
    if settings.runs is not None:
        flags += ["--runs", str(settings.runs)]
    return flags


def _spec(
    settings: ClusterSettings,
    slot: _Slot,
    stage: int,
    module: str,
    flags: list[str],
    *,
    health_port: int | None = None,
) -> ProcessSpec:
    host = settings.host if stage == GATEWAY else LOOPBACK
    common = {
        "--host": host,
        "--port": slot.port,
        "--metrics-port": slot.metrics_port,
        "--log-level": settings.log_level,
        "--grace": settings.grace,
        "--drain-delay": GATEWAY_DRAIN_SECONDS if stage == GATEWAY else DRAIN_SECONDS,
    }
    if health_port is not None:
        common["--health-port"] = health_port
    arguments = [str(text) for pair in common.items() for text in pair]
    reachable = f"{connectable(host)}:{slot.port}"
    return ProcessSpec(
        slot.name,
        ("-m", module, *arguments, *flags),
        partial(is_serving, reachable if health_port is None else f"{connectable(host)}:{health_port}"),
        stage,
        reachable,
        f"{connectable(host)}:{slot.metrics_port}",
    )


def _with_http(
    gateway: ProcessSpec, others: Sequence[ProcessSpec], settings: ClusterSettings, chosen: ports.Chosen
) -> ProcessSpec:
    if settings.http_port is None:
        return gateway
    if settings.http_port and settings.port:
        (port,) = chosen.following(settings.host, settings.http_port, 1, "--http-port")
    else:
        (port,) = ports.free(1)
    # A judge that runs beside the cluster, say.
    more = os.environ.get("FERRY_METRICS_ENDPOINTS", "")
    endpoints = ",".join(filter(None, (*(other.metrics for other in others), more)))
    command = (*gateway.command, "--http-port", str(port), "--metrics-endpoints", endpoints)
    return replace(gateway, command=command, http=f"{connectable(settings.host)}:{port}")


def connectable(host: str) -> str:
    """The address under which a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": LOOPBACK, "[::]": "[::1]", "::": "[::1]"}.get(host, host)  # noqa: S104
