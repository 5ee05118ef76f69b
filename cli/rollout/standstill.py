"""Why a rollout stands still, from what Kubernetes knows of its pods, and how to go back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cli.rollout.kubectl import Json, Kubectl
from cli.rollout.tracks import not_ready, promoted

_MOST = 300
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """A Deployment that does not run what it should, everywhere.

    Attributes:
        deployment: its name.
        reasons: each with what Kubernetes or the pod's own last line says; empty: pods are starting.
        back: the command that brings the former revision back.
    """

    deployment: str
    reasons: tuple[str, ...]
    back: str


def standstills(kubectl: Kubectl, namespace: str, deployments: Mapping[str, Json]) -> list[Standstill]:
    """Those of the Deployments that are not where they should be.

    Raises:
        RolloutError: kubectl failed.
    """
    stuck = {name: item for name, item in deployments.items() if _incomplete(item)}
    if not stuck:
        return []
    pods = kubectl.get("pods", "--selector", "app.kubernetes.io/name=ferry")["items"]
    return [Standstill(name, tuple(_reasons(item, pods)), _back(namespace, item)) for name, item in stuck.items()]


def _incomplete(deployment: Json) -> bool:
    wanted = deployment["spec"].get("replicas", 1)
    return bool(not_ready(deployment)) or deployment.get("status", {}).get("availableReplicas", 0) < wanted


def _back(namespace: str, deployment: Json) -> str:
    if promoted(deployment):
        return f"ferry rollout rollback --namespace {namespace}"
    return f"kubectl --namespace {namespace} rollout undo deployment/{deployment['metadata']['name']}"


def _reasons(deployment: Json, pods: list[Json]) -> Iterator[str]:
    for condition in deployment.get("status", {}).get("conditions", []):
        # No pod could be made: a quota, an admission rule.
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield _short(condition["message"])
    selector = deployment["spec"]["selector"]["matchLabels"]
    seen = set()
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        reason = _reason(pod) if selector.items() <= labels.items() else ""
        if reason and reason not in seen:
            seen.add(reason)
            yield f"pod {pod['metadata']['name']}: {reason}"


def _reason(pod: Json) -> str:
    """Why a pod is not ready; empty where it is, or only starts."""
    status = pod.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"cannot be scheduled: {_short(scheduled.get('message', ''))}"
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        if why := _container(container):
            return f"{container['name']} {why}"
    return ""


def _container(status: Json) -> str:
    states = (status.get("state", {}), status.get("lastState", {}))
    for ended in (state["terminated"] for state in states if "terminated" in state):
        if ended.get("exitCode", 0) != 0:
            said = _last_line(ended.get("message", ""))
            return f"ended with {ended['exitCode']} ({ended.get('reason', 'Error')})" + (f": {said}" if said else "")
    waiting = states[0].get("waiting", {})
    if "message" in waiting:
        return f"waits: {waiting['reason']}: {_short(waiting['message'])}"
    return ""


def _last_line(log: str) -> str:
    """What the last line says; of a structured one its message."""
    lines = [line for line in log.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        structured = json.loads(lines[-1])
    except ValueError:
        return _short(lines[-1])
    return _short(str(structured.get("message", lines[-1])) if isinstance(structured, dict) else lines[-1])


def _short(text: str) -> str:
    return text if len(text) <= _MOST else text[: _MOST - 1] + "…"
