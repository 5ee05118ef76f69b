"""Why a rollout stands still, from what Kubernetes and Argo Rollouts know of it, and how to go back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli.rollout.kubectl import Json, Kubectl
from cli.rollout.tracks import promoted
from cli.rollout.workloads import OURS, incomplete, read_installed

_MOST = 300
"""Characters of a reason."""
_HASHES = ("pod-template-hash", "rollouts-pod-template-hash")
_HELD_UP = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Unhealthy"}
"""Reasons of events about a pod that is not ready, of which its status says nothing."""
_UNDECIDED = {"Failed", "Error", "Inconclusive"}


@dataclass(frozen=True, slots=True)
class Standstill:
    """A workload that does not run what it should, everywhere.

    Attributes:
        workload: kind and name, such as `deployment/detector`.
        reasons: each with what Kubernetes, an analysis or the pod's own last line says; empty: pods are starting.
        back: the command that brings the former revision back.
    """

    workload: str
    reasons: tuple[str, ...]
    back: str


def standstills(kubectl: Kubectl, namespace: str, workloads: Sequence[Json]) -> list[Standstill]:
    """Those of the workloads (cli.rollout.workloads) that are not where they should be.

    Raises:
        RolloutError: kubectl failed.
    """
    stuck = [item for item in workloads if incomplete(item)]
    if not stuck:
        return []
    pods = kubectl.get("pods", "--selector", OURS)["items"]
    warnings = kubectl.get("events", "--field-selector", "type=Warning")["items"]
    warnings.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")))
    argo = any(item["kind"] == "Rollout" for item in stuck)
    analyses = read_installed(kubectl, "analysisruns.argoproj.io") if argo else []
    return [
        Standstill(
            _called(item), tuple(dict.fromkeys(_reasons(item, pods, warnings, analyses))), _back(namespace, item)
        )
        for item in stuck
    ]


def _called(workload: Json) -> str:
    return f"{workload['kind'].lower()}/{workload['metadata']['name']}"


def _back(namespace: str, workload: Json) -> str:
    if workload["kind"] == "Rollout":
        return f"kubectl argo rollouts --namespace {namespace} undo {workload['metadata']['name']}"
    if promoted(workload):
        return f"ferry rollout rollback --namespace {namespace}"
    return f"kubectl --namespace {namespace} rollout undo {_called(workload)}"


def _reasons(workload: Json, pods: list[Json], warnings: list[Json], analyses: list[Json]) -> Iterator[str]:
    if workload["spec"].get("paused"):
        yield f"it is paused; go on: kubectl rollout resume {_called(workload)}"
    if workload["kind"] == "Rollout":
        yield from _judged(workload, analyses)
    failures = list(_not_made(workload, warnings))
    yield from failures
    selector = workload["spec"]["selector"]["matchLabels"]
    seen = set()
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        reason = _reason(pod, warnings) if selector.items() <= labels.items() else ""
        if reason and reason not in seen:
            seen.add(reason)
            yield f"pod {pod['metadata']['name']}: {reason}"
    if not failures and not seen:
        # Nothing else is known; Kubernetes itself has lost its patience.
        for condition in workload.get("status", {}).get("conditions", []):
            if condition["type"] == "Progressing" and condition["status"] == "False":
                yield _short(condition.get("message", condition.get("reason", "")))


def _not_made(workload: Json, warnings: list[Json]) -> Iterator[str]:
    """Why pods could not be made: a quota, an admission rule."""
    conditions = workload.get("status", {}).get("conditions", [])
    told = [c["message"] for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"]
    if told or workload["kind"] == "Deployment":
        yield from map(_short, told)
        return
    name = workload["metadata"]["name"]
    makers = {name, *(f"{name}-{value}" for value in _revisions(workload))}
    for event in _about(makers, warnings, {"FailedCreate"})[-1:]:
        yield _short(event["message"])


def _about(names: set[str], warnings: list[Json], reasons: set[str]) -> list[Json]:
    """Events of these reasons about objects of these names, the oldest first."""
    return [event for event in warnings if event["involvedObject"]["name"] in names and event["reason"] in reasons]


def _revisions(workload: Json) -> list[str]:
    status = workload.get("status", {})
    return [str(status[key]) for key in ("currentPodHash", "stableRS") if status.get(key)]


def _judged(rollout: Json, analyses: list[Json]) -> Iterator[str]:
    """What Argo Rollouts and its analyses say."""
    name, status = rollout["metadata"]["name"], rollout.get("status", {})
    if status.get("abort") or status.get("phase") in {"Degraded", "Paused"}:
        what = "given up; the former version has all callers" if status.get("abort") else status["phase"].lower()
        said = f": {_short(status['message'])}" if status.get("message") else ""
        yield f"{what}{said}"
    if status.get("phase") == "Paused":
        yield f"go on: kubectl argo rollouts promote {name}; give up: kubectl argo rollouts abort {name}"
    current = str(status.get("currentPodHash", ""))
    for run in analyses:
        labels = run["metadata"].get("labels", {})
        owners = [owner["name"] for owner in run["metadata"].get("ownerReferences", [])]
        hashes = {labels[key] for key in _HASHES if key in labels}
        if name not in owners or (hashes and current not in hashes):
            continue
        for metric in run.get("status", {}).get("metricResults", []):
            if metric.get("phase") in _UNDECIDED:
                yield f"analysis {run['metadata']['name']}: {metric['name']} {metric['phase']}{_measured(metric)}"


def _measured(metric: Json) -> str:
    values = [str(m.get("value") or m.get("message") or "") for m in metric.get("measurements", [])]
    shown = ", ".join(value for value in values[-3:] if value)
    told = _short(str(metric.get("message", "")))
    return (f" (measured {_short(shown)})" if shown else "") + (f": {told}" if told else "")


def _reason(pod: Json, warnings: list[Json]) -> str:
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
    for event in _about({pod["metadata"]["name"]}, warnings, _HELD_UP)[-1:]:
        return f"{event['reason']}: {_short(' '.join(event['message'].split()))}"
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
    except (ValueError, RecursionError):
        return _short(lines[-1])
    return _short(str(structured.get("message", lines[-1])) if isinstance(structured, dict) else lines[-1])


def _short(text: str) -> str:
    return text if len(text) <= _MOST else text[: _MOST - 1] + "…"
