"""Pods that see their nodes' processes, to break what runs there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.manifests import Json, name
from tests.kubernetes.scenarios.callers import IMAGE
from tests.kubernetes.scenarios.cluster import HOSTNAME, Cluster

NAMESPACE = "ferry-hands"
_PROGRAM = Path(__file__).with_name("hand_pod.py")


def objects(nodes: list[str]) -> list[Json]:
    """A namespace for pods of every right, and one such pod on each node."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    program = {"name": "hand"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": program, "data": {_PROGRAM.name: _PROGRAM.read_text()}},
        *(_pod(node) for node in nodes),
    ]


def _pod(node: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": node, "labels": {"app": "hand"}},
        "spec": {
            "hostPID": True,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {HOSTNAME: node},
            "containers": [
                {
                    "name": "main",
                    "image": IMAGE,
                    "command": ["sleep", "infinity"],
                    "securityContext": {
                        "runAsUser": 0,
                        "capabilities": {"add": ["SYS_PTRACE"]},
                        "seccompProfile": {"type": "Unconfined"},
                    },
                    "volumeMounts": [{"name": "program", "mountPath": "/hand"}],
                }
            ],
            "volumes": [{"name": "program", "configMap": {"name": "hand"}}],
        },
    }


class Hands:
    """What they can do to a pod of Ferry's."""

    def __init__(self, cluster: Cluster) -> None:
        self._kubectl = cluster.in_namespace(NAMESPACE)

    def kill(self, pod: Json) -> None:
        """`kill -9` of its process."""
        self._do(pod, "kill")

    def stop(self, pod: Json, seconds: float) -> None:
        """Stops its process, and lets it go on after a while; returns then."""
        self._do(pod, "stop", str(seconds))

    def freeze(self, pod: Json, seconds: float) -> None:
        """Stops its event loop only: connections live, and nothing is answered."""
        self._do(pod, "freeze", str(seconds))

    def _do(self, pod: Json, verb: str, *more: str) -> None:
        container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        program = ("python", f"/hand/{_PROGRAM.name}", verb, container, *more)
        self._kubectl("exec", pod["spec"]["nodeName"], "--", *program)


@contextmanager
def hands(cluster: Cluster) -> Iterator[Hands]:
    """On every node, while the context lasts."""
    nodes = [name(node) for node in cluster.kubectl.get("nodes")["items"]]
    kubectl = cluster.in_namespace(NAMESPACE)
    kubectl.apply(objects(nodes))
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    yield Hands(cluster)
