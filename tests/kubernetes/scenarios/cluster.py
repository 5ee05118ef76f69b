"""The cluster that scenarios run on, as its administrator handles it."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.manifests import Json, containers, ferry, name, of_kind, render, workloads
from tests.kubernetes.kubectl import NAMESPACE, Kubectl
from tests.processes import until

HOSTNAME = "kubernetes.io/hostname"
PATIENCE = "--timeout=5m"


_REQUESTS = {"cpu": "50m", "memory": "128Mi"}


def trial(replicas: int = 2, components: tuple[str, ...] = (), overlay: str = "local") -> tuple[Json, ...]:
    """An overlay with this many replicas of each of Ferry's services, requests as in `local`, and no autoscalers."""
    return sized(render(overlay, components), replicas)


def sized(objects: Iterable[Json], replicas: int) -> tuple[Json, ...]:
    """The same with this many replicas, small requests and no autoscalers."""
    objects = tuple(copy.deepcopy(item) for item in objects)
    for workload in ferry(objects):
        workload["spec"]["replicas"] = replicas
        for container in containers(workload):
            container["resources"]["requests"] = _REQUESTS
    return tuple(item for item in objects if item["kind"] not in {"HorizontalPodAutoscaler", "ScaledObject"})


def images(objects: tuple[Json, ...]) -> list[str]:
    """Of every container."""
    return sorted({container["image"] for workload in workloads(objects) for container in containers(workload)})


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    Attributes:
        kubeconfig: of an administrator.
        steady: a node that scenarios leave alone; callers run on it.
        victim: the node that is drained and cut off; the cluster's DNS runs elsewhere.
    """

    kubeconfig: Path
    steady: str
    victim: str

    @property
    def kubectl(self) -> Kubectl:
        return self.in_namespace(NAMESPACE)

    def in_namespace(self, namespace: str) -> Kubectl:
        return Kubectl(self.kubeconfig, namespace)

    def settled(self) -> None:
        """Waits until every Deployment runs what it should, everywhere."""
        for deployment in self.kubectl.get("deployments")["items"]:
            self.kubectl("rollout", "status", f"deployment/{name(deployment)}", PATIENCE)

        def gone() -> bool:
            return not any("deletionTimestamp" in item["metadata"] for item in self.kubectl.get("pods")["items"])

        until(gone, seconds=120, what="pods that were told to end", pause=0.5)

    def pods(self, component: str = "", node: str = "") -> list[Json]:
        """Those that run, of a component and on a node."""
        label = f"app.kubernetes.io/component={component}" if component else "app.kubernetes.io/part-of=ferry"
        return [
            item
            for item in self.kubectl.get("pods", "--selector", label)["items"]
            if item["status"].get("phase") == "Running" and (not node or item["spec"]["nodeName"] == node)
        ]

    def unhealthy(self, probe: str = "") -> list[str]:
        """Warnings of the kubelet that a probe failed: pod and message; of one kind of probe, such as `Startup`."""
        events = self.kubectl.get("events", "--field-selector=reason=Unhealthy")["items"]
        found = [(event["involvedObject"]["name"], event["message"]) for event in events]
        return [f"{pod}: {message}" for pod, message in found if message.startswith(probe)]

    def restarts(self) -> dict[str, int]:
        """How often each pod's containers were started anew."""
        return {
            name(item): sum(status["restartCount"] for status in item["status"].get("containerStatuses", []))
            for item in self.kubectl.get("pods")["items"]
        }

    def cut(self, node: str, *, mended: bool = False) -> None:
        """Takes a node's network away, or gives it back; `can_cut` says whether there is a way."""
        command = os.environ["FERRY_E2E_MEND" if mended else "FERRY_E2E_CUT"]
        subprocess.run(["sh", "-c", command], env={**os.environ, "NODE": node}, check=True)


def can_cut() -> bool:
    """Whether the environment says how to cut a node off: shell commands that find its name in NODE."""
    return bool(os.environ.get("FERRY_E2E_CUT") and os.environ.get("FERRY_E2E_MEND"))


def chosen(kubectl: Kubectl, kubeconfig: Path) -> Cluster:
    """Two nodes of the cluster; of one that has only one node, that node twice."""
    nodes = [
        item["metadata"]["labels"][HOSTNAME]
        for item in kubectl.get("nodes")["items"]
        if not any(taint["effect"] == "NoSchedule" for taint in item["spec"].get("taints", []))
    ]
    dns = {
        item["spec"].get("nodeName")
        for item in Kubectl(kubeconfig, "kube-system").get("pods", "--selector=k8s-app=kube-dns")["items"]
    }
    victim = next((node for node in reversed(nodes) if node not in dns), nodes[-1])
    steady = next((node for node in nodes if node != victim), victim)
    return Cluster(kubeconfig, steady, victim)


def autoscaler(of: str) -> Json:
    """The base's HorizontalPodAutoscaler of a Deployment, to change."""
    (found,) = [item for item in of_kind(render("cpu"), "HorizontalPodAutoscaler") if name(item) == of]
    return copy.deepcopy(found)


def has_image(cluster: Cluster, image: str) -> bool:
    """Whether every node has an image, or can pull it."""
    if not image.startswith("localhost/"):
        return True
    nodes = cluster.kubectl.get("nodes")["items"]
    return all(any(image in there.get("names", []) for there in node["status"].get("images", [])) for node in nodes)
