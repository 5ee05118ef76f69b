"""What runs Ferry's pods in a namespace: Deployments, StatefulSets and, where Argo is installed, Rollouts."""

from __future__ import annotations

from cli.rollout.errors import RolloutError
from cli.rollout.kubectl import Json, Kubectl

OURS = "app.kubernetes.io/part-of=ferry"
_ROLLOUTS = "rollouts.argoproj.io"
_NO_SUCH_KIND = "the server doesn't have a resource type"


def read_workloads(kubectl: Kubectl) -> list[Json]:
    """All of them, each with its kind.

    Raises:
        RolloutError: kubectl failed.
    """
    found: list[Json] = []
    for kind, resource in (("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("Rollout", _ROLLOUTS)):
        found += [{**item, "kind": kind} for item in read_installed(kubectl, resource, "--selector", OURS)]
    return found


def read_installed(kubectl: Kubectl, resource: str, *arguments: str) -> list[Json]:
    """Objects of a kind; none where the cluster does not know it.

    Raises:
        RolloutError: kubectl failed otherwise.
    """
    try:
        items: list[Json] = kubectl.get(resource, *arguments)["items"]
    except RolloutError as error:
        if _NO_SUCH_KIND in str(error):
            return []
        raise
    return items


def incomplete(workload: Json) -> bool:
    """Whether it does not run what it should, everywhere."""
    spec, status = workload["spec"], workload.get("status", {})
    wanted = spec.get("replicas", 1)
    # Argo writes the number as text.
    seen = int(status.get("observedGeneration", 0) or 0)
    if seen < workload["metadata"].get("generation", 0):
        return True
    if workload["kind"] == "Rollout" and status.get("phase") not in {None, "Healthy"}:
        return True
    updated, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", status.get("readyReplicas", 0))
    return bool(updated < wanted or ready < wanted or status.get("replicas", 0) > wanted)
