"""Renders overlays and components with kustomize, and reads what comes out."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.composition import FIRST, K8S, OVERLAYS, ROOT, selected

MODELS_DIR = ROOT / "models"

Json = dict[str, Any]


def combinations(overlay: str) -> list[Any]:
    """An overlay with components as parameters of a test; cpu, which others are copied from, with all pairs."""
    chosen = selected(overlay, pairs=overlay == "cpu")
    return [pytest.param(overlay, components, id="+".join((overlay, *components))) for components in chosen]


COMBINATIONS = [parameter for overlay in OVERLAYS for parameter in combinations(overlay)]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where there is one."""


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
    with prepared(overlay, components) as folder:
        return build(folder)


@contextmanager
def prepared(overlay: str, components: tuple[str, ...]) -> Iterator[Path]:
    """A folder, for as long as the context lasts, with an overlay and further components.

    Those that come first are listed by a copy of the overlay, whose own patches then reach what they add; the others
    by an overlay on top of it.
    """
    first = [component for component in components if component in FIRST]
    with ExitStack() as stack:
        below = f"../{overlay}"
        if first:
            copy = stack.enter_context(beside_overlays())
            shutil.copytree(K8S / "overlays" / overlay, copy, dirs_exist_ok=True)
            text = (copy / "kustomization.yaml").read_text()
            added = "".join(f"  - ../../components/{component}\n" for component in first)
            (copy / "kustomization.yaml").write_text(text.replace("components:\n", f"components:\n{added}", 1))
            below = f"../{copy.name}"
        top = stack.enter_context(beside_overlays())
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "ferry",
            "resources": [below],
            "components": [f"../../components/{component}" for component in components if component not in first],
        }
        (top / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        yield top


@contextmanager
def beside_overlays() -> Iterator[Path]:
    """An empty folder, for as long as the context lasts, beside copies of the overlays.

    Overlays name what they stand on by relative paths. The repository's own folder is read by other tests at this
    moment, so that nothing may come and go there.
    """
    with tempfile.TemporaryDirectory(dir=_copy() / "overlays") as path:
        yield Path(path)


@cache
def _copy() -> Path:
    """A copy of deploy/k8s, and of what it reads beside itself, which the process takes away as it ends."""
    folder = Path(tempfile.mkdtemp(prefix="ferry-manifests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in ("k8s", "grafana"):
        shutil.copytree(K8S.parent / part, folder / part)
    return folder / "k8s"


def build(folder: Path) -> tuple[Json, ...]:
    """The objects of the kustomization in a folder."""
    return tuple(yaml.load_all(kustomize(folder), _LOADER))


def kustomize(folder: Path) -> str:
    """What kustomize prints for a folder; an error fails the test, and so does a warning."""
    # Collecting garbage is a quarter of the work of a build, and it ends before the memory is missed.
    environment = os.environ | {"GOGC": "off"}
    done = subprocess.run([*_kustomize(), str(folder)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Kustomize warns of what it will stop to understand.
    assert not done.stderr, done.stderr
    return done.stdout


def of_kind(objects: tuple[Json, ...], *kinds: str) -> list[Json]:
    return [item for item in objects if item["kind"] in kinds]


def name(item: Json) -> str:
    text: str = item["metadata"]["name"]
    return text


def workloads(objects: tuple[Json, ...]) -> list[Json]:
    """Whatever makes pods."""
    return [item for item in objects if "template" in item.get("spec", {}) and "spec" in item["spec"]["template"]]


def ferry(objects: tuple[Json, ...]) -> list[Json]:
    """Ferry's own Deployments or Rollouts, without Redis and the collector."""
    return [w for w in workloads(objects) if labels(w).get("app.kubernetes.io/name") == "ferry"]


def service(workload: Json) -> str:
    """Which of Ferry's services a Deployment runs; that of the canary's track is the same under another name."""
    return name(workload).removesuffix("-canary")


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
        key, operator = expression["key"], expression["operator"]
        assert operator in {"In", "NotIn", "Exists", "DoesNotExist"}, expression
        inside = of.get(key) in expression["values"] if "values" in expression else key in of
        if inside != (operator in {"In", "Exists"}):
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
