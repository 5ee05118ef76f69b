"""What the manifests of deploy/k8s say of each service: its autoscaler, its requests and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.capacity.autoscaler import Autoscaler, parse
from deploy.capacity.quantity import quantity

BASE = Path(__file__).parents[1] / "k8s" / "base"


class ManifestsError(ValueError):
    """Manifests that cannot be used; the message names folder and object."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """One service as it is deployed.

    Attributes:
        autoscaler: of it.
        cpu_request: CPUs of a pod.
        cpu_limit: CPUs of a pod.
        memory_request: bytes of a pod.
        memory_limit: bytes of a pod.
        settings: variables of its container that are written in its manifest.
    """

    autoscaler: Autoscaler
    cpu_request: float
    cpu_limit: float
    memory_request: float
    memory_limit: float
    settings: Mapping[str, str]


def read_manifests(folder: Path = BASE) -> dict[str, Deployed]:
    """By name of the Deployment, all that have an autoscaler.

    Args:
        folder: with the YAML files of the base, or with what `kubectl kustomize` printed of an overlay.

    Raises:
        ManifestsError: there are none, or one does not fit.
    """
    objects = list(_objects(folder))
    deployments = {item["metadata"]["name"]: item for item in objects if item["kind"] == "Deployment"}
    shared = {
        name: str(value)
        for item in objects
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith("settings")
        for name, value in item.get("data", {}).items()
    } | _environment(folder / "settings.env")
    try:
        scalers = [parse(item) for item in objects if item["kind"] == "HorizontalPodAutoscaler"]
        found = {scaler.target: _deployed(scaler, deployments[scaler.target], shared) for scaler in scalers}
    except KeyError as error:
        raise ManifestsError(f"{folder}: {error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise ManifestsError(f"{folder}: {error}") from error
    if not found:
        raise ManifestsError(
            f"{folder}: no autoscalers there; name the folder deploy/k8s/base of a checkout, or a folder with "
            "the output of `kubectl kustomize`"
        )
    return found


def _objects(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(folder.glob("*.yaml")):
        try:
            for item in yaml.safe_load_all(path.read_text()):
                if isinstance(item, dict) and "kind" in item and "name" in item.get("metadata", {}):
                    yield item
        except yaml.YAMLError as error:
            raise ManifestsError(f"{path}: {error}") from error


def _environment(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def _deployed(scaler: Autoscaler, deployment: Mapping[str, Any], shared: Mapping[str, str]) -> Deployed:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    own = {item["name"]: str(item["value"]) for item in container.get("env", ()) if "value" in item}
    return Deployed(
        autoscaler=scaler,
        cpu_request=quantity(requests["cpu"]),
        cpu_limit=quantity(limits["cpu"]),
        memory_request=quantity(requests["memory"]),
        memory_limit=quantity(limits["memory"]),
        settings={**shared, **own},
    )
