"""The formula: from a load and measured costs to pods, CPUs, memory, Redis and network. Pure arithmetic.

    busy      = rate * CPU seconds per image                           CPUs that compute
    pods      = ceil(busy / (CPU limit * utilization)) + spare         at least minReplicas
    Redis     = misses per second * time to live * bytes of an entry

`utilization` is how busy a pod is when its autoscaler is content: see `utilization`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deploy.capacity.costs import Costs
from deploy.capacity.manifests import Deployed

GATEWAY, ENSEMBLER, DETECTOR = "gateway", "ensembler", "detector"


@dataclass(frozen=True, slots=True)
class Load:
    """What is expected at the busiest time.

    Attributes:
        images_per_second: 0 or more.
        hit_rate: share answered from the cache, in [0, 1).
        faces: mean per image, 0 or more.
        image_bytes: mean of an encoded image; None: as measured.
        ttl_seconds: how long an answer is kept.
        spare: pods beyond what is needed, for a node that is drained.
    """

    images_per_second: float
    hit_rate: float = 0.3
    faces: float = 1.2
    image_bytes: float | None = None
    ttl_seconds: float = 3600.0
    spare: int = 1


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One Deployment.

    Attributes:
        seconds_per_image: CPU, over hits and misses.
        busy_cpus: that compute at any time.
        utilization: of a pod's CPU limit that the autoscaler aims at.
        pods: wanted, spare ones included.
        cpu_requests: CPUs that the nodes must have for them.
        cpu_limits: CPUs they may use.
        memory_requests: bytes.
        max_replicas: that its autoscaler may reach today.
    """

    seconds_per_image: float
    busy_cpus: float
    utilization: float
    pods: int
    cpu_requests: float
    cpu_limits: float
    memory_requests: float
    max_replicas: int

    @property
    def exceeds(self) -> bool:
        """Whether maxReplicas has to be raised."""
        return self.pods > self.max_replicas


@dataclass(frozen=True, slots=True)
class RedisPlan:
    """Entries held at the same time, bytes of memory, commands and bytes a second."""

    entries: float
    memory: float
    gets_per_second: float
    sets_per_second: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load needs.

    Attributes:
        load: that was planned for.
        services: by name.
        redis: of the result cache.
        edge_bytes_per_second: between callers and gateways, both directions.
        inner_bytes_per_second: between the pods, Redis included.
    """

    load: Load
    services: Mapping[str, ServicePlan]
    redis: RedisPlan
    edge_bytes_per_second: float
    inner_bytes_per_second: float

    @property
    def pods(self) -> int:
        return sum(service.pods for service in self.services.values())

    @property
    def cpu_requests(self) -> float:
        return sum(service.cpu_requests for service in self.services.values())

    @property
    def cpu_limits(self) -> float:
        return sum(service.cpu_limits for service in self.services.values())

    @property
    def memory_requests(self) -> float:
        return sum(service.memory_requests for service in self.services.values())

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        totals = {
            "pods": self.pods,
            "cpu_requests": self.cpu_requests,
            "cpu_limits": self.cpu_limits,
            "memory_requests": self.memory_requests,
        }
        return asdict(self) | {"totals": totals}


def plan(load: Load, costs: Costs, manifests: Mapping[str, Deployed]) -> Plan:
    """
    Args:
        load: see there.
        costs: of every service in `manifests`.
        manifests: of every service that has an autoscaler.

    Raises:
        ValueError: a figure of the load is out of its range, or a service was never measured.
    """
    _check(load)
    unknown = sorted(manifests.keys() - costs.services.keys())
    if unknown:
        raise ValueError(f"{unknown[0]} was never measured; `ferry bench autoscaling --measure` does it")
    services = {name: _service(name, load, costs, deployed) for name, deployed in manifests.items()}
    return Plan(load, services, _redis(load, costs), _edge(load, costs), _inner(load, costs, manifests))


def busy_share(in_flight: float) -> float:
    """How busy one executor is that holds `in_flight` requests, waiting and running, on average.

    M/D/1: in_flight = r + r^2 / (2 (1 - r)) (Pollaczek-Khinchine), solved for r.
    """
    return 1 + in_flight - math.sqrt(1 + in_flight**2)


def utilization(deployed: Deployed) -> float:
    """Share of a pod's CPU limit that is used when the autoscaler is content: by the metric that asks for more pods."""
    scaler = deployed.autoscaler
    shares = [1.0]
    if scaler.in_flight is not None:
        shares.append(busy_share(scaler.in_flight))
    if scaler.cpu is not None:
        shares.append(scaler.cpu * deployed.cpu_request / deployed.cpu_limit)
    return min(shares)


def seconds_per_image(service: str, load: Load, costs: Costs) -> float:
    """CPU of `service` for an image, hits and misses together; every row as if it were run alone."""
    cost = costs.services[service]
    misses = 1 - load.hit_rate
    if service == GATEWAY:
        return load.hit_rate * costs.cached_seconds + misses * cost.request_seconds
    if service == ENSEMBLER:
        return misses * cost.request_seconds
    if service == DETECTOR:
        return misses * (cost.request_seconds + cost.run(1))
    # Who finds no face asks no classifier.
    return misses * (min(1.0, load.faces) * cost.request_seconds + load.faces * cost.run(1))


def _service(name: str, load: Load, costs: Costs, deployed: Deployed) -> ServicePlan:
    each = seconds_per_image(name, load, costs)
    busy = load.images_per_second * each
    share = utilization(deployed)
    # The rounding keeps 3.0000000001 pods from being four.
    needed = math.ceil(round(busy / (deployed.cpu_limit * share), 6)) + load.spare
    pods = max(needed, deployed.autoscaler.min_replicas)
    return ServicePlan(
        each,
        busy,
        share,
        pods,
        pods * deployed.cpu_request,
        pods * deployed.cpu_limit,
        pods * deployed.memory_request,
        deployed.autoscaler.max_replicas,
    )


def _redis(load: Load, costs: Costs) -> RedisPlan:
    """Every image looked up, every miss stored: at most, since gateways' own memory spares Redis some of it."""
    misses = load.images_per_second * (1 - load.hit_rate)
    entries = misses * load.ttl_seconds
    size = costs.entry_bytes.at(load.faces)
    moved = load.images_per_second * load.hit_rate * size + misses * size
    return RedisPlan(entries, entries * size, load.images_per_second, misses, moved)


def _edge(load: Load, costs: Costs) -> float:
    return load.images_per_second * (_image(load, costs) + costs.answer_bytes.at(load.faces))


def _inner(load: Load, costs: Costs, manifests: Mapping[str, Deployed]) -> float:
    misses = load.images_per_second * (1 - load.hit_rate)
    classifiers = len(manifests.keys() - {GATEWAY, ENSEMBLER, DETECTOR})
    # The image from gateway to ensembler to detector, the answer back, crops to the ensembler and to each classifier.
    crops = load.faces * costs.crop_bytes * (1 + classifiers)
    each = 2 * _image(load, costs) + costs.answer_bytes.at(load.faces) + crops
    return misses * each + _redis(load, costs).bytes_per_second


def _image(load: Load, costs: Costs) -> float:
    return costs.image_bytes if load.image_bytes is None else load.image_bytes


def _check(load: Load) -> None:
    for field, value, low, high in (
        ("images_per_second", load.images_per_second, 0.0, 1e9),
        ("hit_rate", load.hit_rate, 0.0, 1.0),
        ("faces", load.faces, 0.0, 256.0),
        ("image_bytes", load.image_bytes or 0.0, 0.0, 1e9),
        ("ttl_seconds", load.ttl_seconds, 0.0, 1e9),
        ("spare", load.spare, 0.0, 1e6),
    ):
        if not low <= value <= high:
            raise ValueError(f"{field} must be {low:g} to {high:g}, not {value:g}")
