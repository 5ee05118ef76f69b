"""A real Prometheus in a pod, and Ferry's metric for autoscalers out of it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.deploy.expressions import in_adapter
from tests.deploy.manifests import Json
from tests.kubernetes import metrics_api
from tests.kubernetes.kubectl import Kubectl
from tests.kubernetes.metrics_api import CUSTOM, registration_of
from tests.kubernetes.scenarios import adapter_pod
from tests.kubernetes.scenarios.callers import IMAGE as PYTHON
from tests.kubernetes.scenarios.callers import namespace, pod
from tests.kubernetes.scenarios.cluster import Cluster
from tests.processes import until

IMAGE = os.environ.get("FERRY_E2E_PROMETHEUS", "localhost/ferry/prometheus:test")
NAMESPACE = "ferry-monitoring"
_NAME = "prometheus"
_CONFIG = {
    "global": {"scrape_interval": "5s"},
    "scrape_configs": [
        {"job_name": "ferry", "file_sd_configs": [{"files": ["/targets/*.json"], "refresh_interval": "2s"}]}
    ],
}


def objects(node: str) -> list[Json]:
    """Everything but what autoscalers are told, in the order in which it is made; the pod runs on a node."""
    authority = trustme.CA()
    issued = authority.issue_cert(f"{_NAME}.{NAMESPACE}.svc")
    keys = {"tls.crt": issued.cert_chain_pems[0].bytes(), "tls.key": issued.private_key_pem.bytes()}
    program = {"metrics_api.py": Path(metrics_api.__file__), "adapter_pod.py": Path(adapter_pod.__file__)}
    files = [
        {"key": "metrics_api.py", "path": "tests/kubernetes/metrics_api.py"},
        {"key": "adapter_pod.py", "path": "main.py"},
    ]
    (query,) = (query for query in in_adapter(pods=adapter_pod.PODS) if adapter_pod.PODS in query)
    both = pod(
        _NAME,
        ["prometheus", "--config.file=/config/prometheus.yaml", "--storage.tsdb.path=/data"],
        image=IMAGE,
        node=node,
    )
    spec = both["spec"]
    spec |= {"serviceAccountName": _NAME, "automountServiceAccountToken": True}
    spec["volumes"] = [
        {"name": "config", "configMap": {"name": _NAME}},
        {"name": "program", "configMap": {"name": "adapter", "items": files}},
        {"name": "keys", "secret": {"secretName": "adapter"}},
        {"name": "targets", "emptyDir": {}},
        {"name": "data", "emptyDir": {}},
    ]
    (main,) = spec["containers"]
    adapter = {
        **main,
        "name": "adapter",
        "image": PYTHON,
        "command": ["python", "/program/main.py", query, "/targets/ferry.json", "/keys"],
        "env": [{"name": "PYTHONPATH", "value": "/program"}],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("program", "keys", "targets")],
    }
    main["volumeMounts"] = [{"name": name, "mountPath": f"/{name}"} for name in ("config", "targets", "data")]
    spec["containers"].append(adapter)
    may = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    subject = {"kind": "ServiceAccount", "name": _NAME, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ferry-e2e-adapter"}
    named = {"name": _NAME}
    return [
        namespace(NAMESPACE, **{"ferry/monitoring": "true"}),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role["name"]},
            "rules": [may],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role["name"]},
            "roleRef": role,
            "subjects": [subject],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": named,
            "data": {"prometheus.yaml": yaml.safe_dump(_CONFIG)},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "adapter"},
            "data": {key: path.read_text() for key, path in program.items()},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "adapter"},
            "data": {key: base64.b64encode(value).decode() for key, value in keys.items()},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"selector": {"app": _NAME}, "ports": [{"port": 443, "targetPort": 6443}]},
        },
        both,
    ]


def registration() -> Json:
    """By which an API server passes questions for Ferry's metric on to the pod."""
    return registration_of(CUSTOM, {"name": _NAME, "namespace": NAMESPACE})


@contextmanager
def measuring(cluster: Cluster) -> Iterator[Kubectl]:
    """It runs while the context lasts, on the node that scenarios leave alone; its namespace."""
    kubectl = cluster.in_namespace(NAMESPACE)
    kubectl.apply(objects(cluster.steady))
    try:
        yield kubectl
    finally:
        kubectl("delete", "pod", _NAME, "--now", "--ignore-not-found")
        kubectl("delete", "clusterrole,clusterrolebinding", "ferry-e2e-adapter", "--ignore-not-found")


def asked(kubectl: Kubectl, path: str) -> Any:
    """What the Prometheus of a namespace answers to GET.

    Raises:
        AssertionError: nothing.
    """
    return json.loads(kubectl("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{_NAME}:9090/proxy{path}"))


@contextmanager
def telling(cluster: Cluster) -> Iterator[None]:
    """Autoscalers find Ferry's metric while the context lasts, out of the Prometheus that runs."""
    kubectl = cluster.in_namespace(NAMESPACE)
    kubectl("wait", "--for=condition=Ready", f"pod/{_NAME}", "--timeout=120s")
    told = registration()
    kubectl.apply([told])
    try:
        path = f"/apis/{CUSTOM}/namespaces/ferry/pods/*/{metrics_api.METRIC}"
        until(
            lambda: kubectl.succeeds("get", "--raw", path), seconds=120, what="the metrics of Ferry's pods", pause=0.5
        )
        yield
    finally:
        kubectl("delete", "apiservice", told["metadata"]["name"], "--ignore-not-found")
