"""The Deployments of both tracks, and how stable's become what the canary's are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from cli.rollout.errors import RolloutError
from cli.rollout.kubectl import Json, Kubectl

SUFFIX = "-canary"
PROMOTED_REVISION = "ferry/promoted-revision"
"""Annotation of a Deployment: the revision that a promotion made; another one since then is not the promotion's."""
_REVISION = "deployment.kubernetes.io/revision"
_CONTAINER = "ferry"
_RECIPE = "recipe"


@dataclass(frozen=True, slots=True)
class Track:
    """One service of the canary's track and its twin.

    Attributes:
        name: stable's Deployment, such as `detector`.
        stable: it, as the API server has it.
        canary: its twin.
    """

    name: str
    stable: Json
    canary: Json


def read_deployments(kubectl: Kubectl) -> dict[str, Json]:
    """Ferry's Deployments by name.

    Raises:
        RolloutError: kubectl failed.
    """
    listed: Json = kubectl.get("deployments", "--selector", "app.kubernetes.io/name=ferry")
    return {item["metadata"]["name"]: item for item in listed["items"]}


def read_tracks(kubectl: Kubectl) -> list[Track]:
    """Every service that has a canary, models first and the ensembler last: the order in which to roll them.

    Raises:
        RolloutError: there is no canary, or one without its twin.
    """
    found = read_deployments(kubectl)
    names = sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))
    if not names:
        raise RolloutError("there is no canary; add the component canary to your overlay and apply it")
    alone = [name for name in names if name not in found]
    if alone:
        raise RolloutError(f"{alone[0]}{SUFFIX} has no Deployment {alone[0]} beside it")
    return [Track(n, found[n], found[n + SUFFIX]) for n in sorted(names, key=lambda name: name == "ensembler")]


def not_ready(deployment: Json) -> str:
    """Why a Deployment cannot be relied on; empty where it can."""
    status, generation = deployment.get("status", {}), deployment["metadata"].get("generation", 0)
    if status.get("observedGeneration", 0) < generation or status.get("updatedReplicas", 0) < status.get("replicas", 0):
        return "is still rolling out"
    return "" if status.get("availableReplicas", 0) > 0 else "has no pod that is available"


def promotion(track: Track, recipe: str | None) -> Json | None:
    """The strategic merge patch that gives stable's pods the image, the models and the variables of the canary's.

    A variable that the canary lacks is taken from stable: what has answered ran without it.

    Args:
        track: which.
        recipe: name of the ConfigMap with the recipe for stable; None: this service has none.

    Returns:
        None where they have them already.
    """
    labels = {k: v for k, v in _labels(track.canary).items() if k.startswith("ferry/model")}
    image, env = _container(track.canary)["image"], _container(track.canary).get("env", [])
    volumes = [volume for volume in _volumes(track.canary) if "image" in volume]
    if recipe is not None:
        volumes.append({"name": _RECIPE, "configMap": {"name": recipe}})
    own = _container(track.stable)
    known = {variable["name"] for variable in env}
    gone = [
        {"name": variable["name"], "$patch": "delete"}
        for variable in own.get("env", [])
        if variable["name"] not in known
    ]
    have = {volume["name"]: volume for volume in _volumes(track.stable)}
    if (
        image == own["image"]
        and not gone
        and all(variable in own.get("env", []) for variable in env)
        and labels.items() <= _labels(track.stable).items()
        and all(_within(volume, have.get(volume["name"])) for volume in volumes)
    ):
        return None
    spec: Json = {"containers": [{"name": _CONTAINER, "image": image, "env": [*env, *gone]}], "volumes": volumes}
    # The controller numbers a new template by one more than the last; with the patch itself the mark cannot get lost.
    notes = {PROMOTED_REVISION: str(_revision(track.stable) + 1)}
    return {"metadata": {"annotations": notes}, "spec": {"template": {"metadata": {"labels": labels}, "spec": spec}}}


def promoted_recipe(kubectl: Kubectl, track: Track, names: list[str]) -> tuple[str | None, Json | None]:
    """The ConfigMap that stable's ensembler is to read, and the object to create for it, if it is not there.

    The canary's recipe names the canary's models; in stable's the same recipe names stable's.

    Args:
        kubectl: reads both recipes.
        track: the ensembler's, or another (which has no recipe).
        names: stable's services that have a canary.

    Raises:
        RolloutError: a recipe is not where it should be.
    """
    mine, theirs = _recipe_map(track.stable), _recipe_map(track.canary)
    if mine is None or theirs is None:
        return None, None
    have, wanted = (dict(kubectl.get("configmap", name).get("data", {})) for name in (mine, theirs))
    host = re.compile(rf"\b({'|'.join(map(re.escape, names))}){SUFFIX}(?=[.:])")
    wanted = {file: host.sub(r"\1", text) for file, text in wanted.items()}
    if any(SUFFIX in text for text in wanted.values() if re.search(rf"{SUFFIX}[.:]", text)):
        raise RolloutError(f"the recipe in ConfigMap {theirs} names a service that has no twin in stable")
    if _meaning(have) == _meaning(wanted):
        return mine, None
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:10]
    name = f"recipe-promoted-{digest}"
    return name, {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "ferry"}},
        "data": wanted,
    }


def promoted(deployment: Json) -> bool:
    """Whether what a Deployment runs was put there by a promotion."""
    return bool(_notes(deployment).get(PROMOTED_REVISION) == str(_revision(deployment)))


def describe(deployment: Json) -> str:
    """Image and model version."""
    labels = _labels(deployment)
    model = f", {labels['ferry/model']} {labels['ferry/model-version']}" if "ferry/model" in labels else ""
    return f"{_container(deployment)['image']}{model}"


def _meaning(files: dict[str, str]) -> dict[str, list[str]]:
    lines = {file: [line.strip() for line in text.splitlines()] for file, text in files.items()}
    return {file: [line for line in found if line and not line.startswith("#")] for file, found in lines.items()}


def _within(part: Any, whole: Any) -> bool:
    """Whether `whole` says all that `part` says; the API server adds defaults."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _within(v, whole[key]) for key, v in part.items())
    return bool(part == whole)


def _notes(deployment: Json) -> dict[str, str]:
    notes: dict[str, str] = deployment["metadata"].get("annotations", {})
    return notes


def _revision(deployment: Json) -> int:
    return int(_notes(deployment).get(_REVISION, 0))


def _template(deployment: Json) -> Json:
    template: Json = deployment["spec"]["template"]
    return template


def _labels(deployment: Json) -> dict[str, str]:
    labels: dict[str, str] = _template(deployment)["metadata"].get("labels", {})
    return labels


def _container(deployment: Json) -> Json:
    for container in _template(deployment)["spec"]["containers"]:
        if container["name"] == _CONTAINER:
            found: Json = container
            return found
    raise RolloutError(f"Deployment {deployment['metadata']['name']} has no container named {_CONTAINER}")


def _volumes(deployment: Json) -> list[Json]:
    volumes: list[Json] = _template(deployment)["spec"].get("volumes", [])
    return volumes


def _recipe_map(deployment: Json) -> str | None:
    for volume in _volumes(deployment):
        if volume["name"] == _RECIPE and "configMap" in volume:
            return str(volume["configMap"]["name"])
    return None
