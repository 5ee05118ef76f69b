"""Says whether a cluster may be used for scenarios, which delete and break things, and whether it can be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from tests.kubernetes.kubectl import NAMESPACE, Kubectl

OLDEST = (1, 32)
NAMESPACES = (NAMESPACE, "ferry-callers", "ferry-strangers", "ferry-monitoring", "ferry-hands")
"""Every namespace that scenarios make, and delete at the end."""
LOCAL = "localhost/"
"""Images of this registry are on the nodes or nowhere."""
_PATIENCE = 60.0
"""Seconds in which a kubelet tells of images that were loaded a moment ago, and a metrics API begins to answer."""


class RefusedError(Exception):
    """The cluster is left alone; says why, and what would help."""


def check(kubectl: Kubectl, context: str, images: Sequence[str], patience: float = _PATIENCE) -> None:
    """Looks, and changes nothing.

    Args:
        kubectl: of the cluster.
        context: the kubeconfig's context that the user calls disposable.
        images: of every pod that will run.
        patience: seconds for what a young cluster does not tell yet.

    Raises:
        RefusedError: it must not be used, or lacks something.
    """
    try:
        _named(kubectl, context)
        _able(kubectl)
        _unused(kubectl, context)
    except AssertionError as error:
        raise RefusedError(f"the cluster cannot be looked at: {error}") from error
    _waited(lambda: _images(kubectl, images), patience)
    _waited(lambda: _metrics(kubectl), patience)


def _named(kubectl: Kubectl, context: str) -> None:
    current = kubectl("config", "current-context").strip()
    if current != context:
        said = f"names {context}" if context else "is not set"
        raise RefusedError(
            f"the kubeconfig's context is {current} and FERRY_E2E_CONTEXT {said}: scenarios delete namespaces and "
            f"break nodes; set FERRY_E2E_CONTEXT={current} only where nothing of this cluster is needed any more"
        )


def _unused(kubectl: Kubectl, context: str) -> None:
    there = {item["metadata"]["name"] for item in kubectl.get("namespaces")["items"]}
    if found := [name for name in NAMESPACES if name in there]:
        raise RefusedError(
            f"the cluster {context} has the namespace {found[0]} already, so somebody may use it; delete it yourself "
            f"if not: kubectl delete namespace {' '.join(found)}"
        )


def _able(kubectl: Kubectl) -> None:
    server = json.loads(kubectl("version", "--output", "json"))["serverVersion"]
    version = (int(server["major"]), int(server["minor"].rstrip("+")))
    if version < OLDEST:
        raise RefusedError(f"the cluster is Kubernetes {version[0]}.{version[1]}; Ferry needs 1.{OLDEST[1]} or newer")
    if not kubectl.succeeds("auth", "can-i", "*", "*", "--all-namespaces"):
        raise RefusedError("no rights: scenarios need those of a cluster's administrator (kubectl auth can-i '*' '*')")


def _images(kubectl: Kubectl, images: Sequence[str]) -> str:
    """What is missing; empty: nothing."""
    for node in kubectl.get("nodes")["items"]:
        there = {name for image in node["status"].get("images", []) for name in image.get("names", [])}
        lacking = [image for image in images if image.startswith(LOCAL) and image not in there]
        if lacking:
            where = node["metadata"]["name"]
            return (
                f"{where} does not have {', '.join(lacking)}: build with `make images`, then load them into the nodes"
            )
    return ""


def _metrics(kubectl: Kubectl) -> str:
    if kubectl.succeeds("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"):
        return ""
    return "the cluster has no metrics API (kubectl top nodes fails): install metrics-server"


def _waited(problem: Callable[[], str], patience: float) -> None:
    end = time.monotonic() + patience
    while said := problem():
        if time.monotonic() > end:
            raise RefusedError(said)
        time.sleep(1)
