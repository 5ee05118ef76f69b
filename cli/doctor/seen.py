"""What a namespace holds, read once, so that every check speaks of the same moment."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cli.doctor.inside import Inside, look_inside
from cli.rollout.errors import RolloutError
from cli.rollout.kubectl import Json, Kubectl
from cli.rollout.standstill import Standstill, standstills
from cli.rollout.workloads import OURS, read_installed, read_workloads

FERRY = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """
    Attributes:
        namespace: its name.
        server: what `kubectl version` says of the API server.
        labels: of the namespace.
        callers: names of namespaces that may call; None: the list may not be read.
        workloads: Ferry's, Redis included.
        stuck: those that are not rolled out.
        pods: of these, those that end excepted.
        autoscalers: HorizontalPodAutoscalers.
        budgets: PodDisruptionBudgets.
        policies: NetworkPolicies.
        inside: what each running pod of Ferry's own says of itself, by its name.
    """

    namespace: str
    server: Json
    labels: dict[str, str]
    callers: list[str] | None
    workloads: list[Json]
    stuck: list[Standstill]
    pods: list[Json]
    autoscalers: list[Json]
    budgets: list[Json]
    policies: list[Json]
    inside: dict[str, Inside]

    @property
    def own(self) -> list[Json]:
        """Workloads of Ferry's own services."""
        return [item for item in self.workloads if item["metadata"].get("labels", {}).get(FERRY) == "ferry"]


def look(kubectl: Kubectl, namespace: str) -> Seen:
    """Reads everything.

    Raises:
        RolloutError: the cluster cannot be reached, or an object may not be read.
    """
    server: Json = json.loads(kubectl.read("version", "--output", "json"))["serverVersion"]
    workloads = read_workloads(kubectl)
    pods = [
        pod
        for pod in kubectl.get("pods", "--selector", OURS)["items"]
        if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in {"Succeeded", "Failed"}
    ]
    running = [
        name(pod)
        for pod in pods
        if pod["metadata"]["labels"].get(FERRY) == "ferry" and pod["status"].get("phase") == "Running"
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        inside = dict(zip(running, pool.map(lambda pod: look_inside(kubectl, pod), running), strict=True))
    return Seen(
        namespace=namespace,
        server=server,
        labels=kubectl.get("namespace", namespace)["metadata"].get("labels", {}),
        callers=_callers(kubectl),
        workloads=workloads,
        stuck=standstills(kubectl, namespace, workloads),
        pods=pods,
        autoscalers=kubectl.get("horizontalpodautoscalers")["items"],
        budgets=kubectl.get("poddisruptionbudgets")["items"],
        policies=read_installed(kubectl, "networkpolicies"),
        inside=inside,
    )


def name(item: Json) -> str:
    """Of an object."""
    return str(item["metadata"]["name"])


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a selector's matchLabels fit; an empty selector fits everything."""
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def _callers(kubectl: Kubectl) -> list[str] | None:
    try:
        return [name(item) for item in kubectl.get("namespaces", "--selector", "ferry/caller=true")["items"]]
    except RolloutError:
        return None
