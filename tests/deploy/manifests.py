"""Renders overlays and components with kustomize, and reads what comes out."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
OPTIONAL = (
    "monitoring",
    "otel",
    "keda",
    "models-volume",
    "models-fetch",
    "gateway-api",
    "mtls",
    "api-keys",
    "argo-rollouts",
)
"""Components for any overlay, in the order in which a kustomization lists them; redis and redis-external exclude each
other and belong to overlays."""
EXCLUDES = (frozenset({"models-volume", "models-fetch"}), frozenset({"gateway-api", "mtls"}))
"""Components that do not go together."""
SINCE = {"gpu-dra": (1, 34)}
"""Components that need a newer Kubernetes than the oldest that Ferry runs on."""

Json = dict[str, Any]


def fits(chosen: tuple[str, ...]) -> bool:
    return not any(pair <= set(chosen) for pair in EXCLUDES)


def _combinations() -> list[tuple[str, tuple[str, ...]]]:
    """Every component alone, every two, and as many as go together: two that disagree show in a pair."""
    pairs = [c for n in range(3) for c in itertools.combinations(OPTIONAL, n) if fits(c)]
    most: set[tuple[str, ...]] = set()
    for first in OPTIONAL:
        chosen: tuple[str, ...] = (first,)
        for other in OPTIONAL:
            if other not in chosen and fits((*chosen, other)):
                chosen = (*chosen, other)
        most.add(tuple(sorted(chosen, key=OPTIONAL.index)))
    every = [*pairs, *sorted(most)]
    found = [("cpu", chosen) for chosen in every]
    found += [("local", ()), ("local", OPTIONAL[:2])]
    found += [("cpu", ("gateway-api", "gateway-api-split"))]
    found += [("gpu", ()), ("gpu", ("gpu-dra",))]
    found += [("gpu", (*chosen, *extra)) for chosen in sorted(most) for extra in ((), ("gpu-dra",))]
    return list(dict.fromkeys(found))


COMBINATIONS = [pytest.param(*chosen, id="+".join((chosen[0], *chosen[1]))) for chosen in _combinations()]


@cache
def _kustomize() -> tuple[str, ...]:
    if shutil.which("kustomize"):
        return ("kustomize", "build")
    if shutil.which("kubectl"):
        return ("kubectl", "kustomize")
    pytest.skip("needs kustomize 5 or kubectl 1.27 or newer on the PATH", allow_module_level=True)


@cache
def render(overlay: str, components: tuple[str, ...] = ()) -> tuple[Json, ...]:
    """The objects of an overlay with further components, as `kubectl apply -k` would send them."""
    with tempfile.TemporaryDirectory(dir=K8S / "overlays", prefix=".test-") as folder:
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "ferry",
            "resources": [f"../{overlay}"],
            "components": [f"../../components/{name}" for name in components],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        done = subprocess.run([*_kustomize(), folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Kustomize warns of what it will stop to understand.
    assert not done.stderr, done.stderr
    return tuple(yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def of_kind(objects: tuple[Json, ...], *kinds: str) -> list[Json]:
    return [item for item in objects if item["kind"] in kinds]


def name(item: Json) -> str:
    text: str = item["metadata"]["name"]
    return text


def workloads(objects: tuple[Json, ...]) -> list[Json]:
    return of_kind(objects, "Deployment", "StatefulSet", "Rollout")


def ferry(objects: tuple[Json, ...]) -> list[Json]:
    """Ferry's own Deployments or Rollouts, without Redis and the collector."""
    return [w for w in workloads(objects) if labels(w).get("app.kubernetes.io/name") == "ferry"]


def pod(workload: Json) -> Json:
    spec: Json = workload["spec"]["template"]["spec"]
    return spec


def labels(workload: Json) -> dict[str, str]:
    """Of its pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def containers(workload: Json) -> list[Json]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def selects(selector: Json, of: dict[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    if any(of.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        inside = of.get(expression["key"]) in expression.get("values", [])
        assert expression["operator"] in {"In", "NotIn"}, expression
        if inside != (expression["operator"] == "In"):
            return False
    return True


def variables(workload: Json, objects: tuple[Json, ...], init: int | None = None) -> dict[str, str]:
    """Environment of a workload's first container, or its init container `init`; values from Secrets are left out."""
    maps = {name(item): item["data"] for item in of_kind(objects, "ConfigMap")}
    container = pod(workload)["containers"][0] if init is None else pod(workload)["initContainers"][init]
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= maps[source["configMapRef"]["name"]]
    found |= {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}
    return found


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
