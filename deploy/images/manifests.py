"""The manifests of an overlay, as `podman play kube` can run them.

Only what podman 4.3 cannot do is changed, and every change says why. What stays is what the check is about: images,
environment, ConfigMaps, users, read-only roots, capabilities, requests and limits.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.capacity.quantity import quantity
from deploy.images.tool import ImagesError, call

Json = dict[str, Any]

PREFIX = "ferry-check-"
"""Of the names of everything that the check makes, so that it finds its own leftovers and touches nothing else."""
_WORKLOADS = {"Deployment", "StatefulSet"}


@dataclass(frozen=True)
class Pod:
    """One pod for podman, and what has to be true of it."""

    name: str
    """Its workload's."""
    manifest: str
    """YAML: the ConfigMaps it uses and the Pod."""
    aliases: tuple[str, ...]
    """The Services in front of it."""
    container: str
    """Podman's name of its only container."""
    volumes: tuple[str, ...]
    """Podman's names of what it makes for the pod's volumes."""
    port: int
    """What answers health checks."""
    health: str | None
    """Name of the gRPC health service; None where a TCP connection is all."""
    cpus: float
    """Limit."""
    memory: int
    """Limit, bytes."""


def render(overlay: Path) -> list[Json]:
    """The objects of a kustomization.

    Raises:
        ImagesError: neither kustomize nor kubectl is there, or the folder does not build.
    """
    program = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    return list(yaml.safe_load_all(call([*program, str(overlay)])))


def pods(objects: Sequence[Json]) -> list[Pod]:
    """One pod for every workload. Other kinds are left out, since podman knows none of them: namespaces, priorities,
    service accounts, disruption budgets and network policies are the cluster's business; Services become names in
    podman's network."""
    return [_pod(item, objects) for item in objects if item["kind"] in _WORKLOADS]


def _pod(workload: Json, objects: Sequence[Json]) -> Pod:
    name = workload["metadata"]["name"]
    template = copy.deepcopy(workload["spec"]["template"])
    labels, spec = template["metadata"]["labels"], template["spec"]
    if len(spec["containers"]) != 1 or "initContainers" in spec:
        raise ImagesError(f"{name}: pods of one container are all that this check knows")
    container = spec["containers"][0]
    health = container["readinessProbe"]
    maps = _own_config_maps(name, spec, container, objects)
    volumes = _own_volumes(name, spec, container)
    # Podman publishes every port on the host, where five services cannot all have 9090; its network needs none.
    port = _port(health, container)
    container.pop("ports", None)
    # Podman 4.3 has no gRPC probes and runs those for TCP with a program (nc) inside the image, which is not there: the
    # check asks the same health services from outside.
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container.pop(probe, None)
    # Podman makes one pod of a Deployment, and knows no StatefulSet: a Pod says the same.
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": PREFIX + name, "labels": labels},
        # Podman restarts what dies, as kubelet does; here a death has to be seen.
        "spec": {**spec, "restartPolicy": "Never"},
    }
    limits = container["resources"]["limits"]
    return Pod(
        name=name,
        manifest=yaml.safe_dump_all([*maps, pod], sort_keys=False),
        aliases=_services(labels, objects),
        container=f"{PREFIX}{name}-{container['name']}",
        volumes=volumes,
        port=port,
        health=health["grpc"]["service"] if "grpc" in health else None,
        cpus=quantity(limits["cpu"]),
        memory=int(quantity(limits["memory"])),
    )


def _own_volumes(name: str, spec: Json, container: Json) -> tuple[str, ...]:
    """Podman names what it makes for an emptyDir as the pod names its volume: two pods' `tmp` would be one."""
    for volume in spec.get("volumes", []):
        volume["name"] = f"{PREFIX}{name}-{volume['name']}"
    for mount in container.get("volumeMounts", []):
        mount["name"] = f"{PREFIX}{name}-{mount['name']}"
    return tuple(
        volume["configMap"]["name"] if "configMap" in volume else volume["name"] for volume in spec.get("volumes", [])
    )


def _own_config_maps(name: str, spec: Json, container: Json, objects: Sequence[Json]) -> list[Json]:
    """Podman makes a volume named like the ConfigMap: it gets a name that nobody else uses."""
    references = [source["configMapRef"] for source in container.get("envFrom", []) if "configMapRef" in source]
    references += [volume["configMap"] for volume in spec.get("volumes", []) if "configMap" in volume]
    maps = {item["metadata"]["name"]: item for item in objects if item["kind"] == "ConfigMap"}
    found = {}
    for reference in references:
        wanted = reference["name"]
        if wanted not in maps:
            raise ImagesError(f"{name}: there is no ConfigMap {wanted}")
        reference["name"] = f"{PREFIX}{name}-{wanted}"
        found[wanted] = {**maps[wanted], "metadata": {"name": reference["name"]}}
    return list(found.values())


def _services(labels: Json, objects: Sequence[Json]) -> tuple[str, ...]:
    return tuple(
        item["metadata"]["name"]
        for item in objects
        if item["kind"] == "Service" and item["spec"]["selector"].items() <= labels.items()
    )


def _port(probe: Json, container: Json) -> int:
    port = probe["grpc"]["port"] if "grpc" in probe else probe["tcpSocket"]["port"]
    named = {item["name"]: item["containerPort"] for item in container["ports"]}
    return int(named.get(port, port))
