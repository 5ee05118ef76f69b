"""Runs in a pod beside a Prometheus: tells it where Ferry's pods are, and autoscalers what it measured.

It does the work of prometheus-adapter with the query of deploy/prometheus/adapter-values.yaml; and it finds the pods,
which not every build of Prometheus can.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.kubernetes.metrics_api import NAMESPACE, MetricsApi, server

PODS = "PODS"
"""Stands in the query for the names of pods, divided by |."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_PAUSE = 2.0


def kubernetes(path: str) -> Any:
    """What the API server answers."""
    where = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}"
    request = urllib.request.Request(where, headers={"Authorization": f"Bearer {_ACCOUNT.read_text()}"})
    with urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()) as answer:
        return json.load(answer)


def pods(selector: str) -> list[dict[str, Any]]:
    """Ferry's pods that a label selector matches."""
    found: list[dict[str, Any]] = kubernetes(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={quote(selector)}")[
        "items"
    ]
    return found


def discover(targets: Path) -> None:
    """Keeps the list of what Prometheus scrapes, with the labels that Prometheus Operator would give."""
    while True:
        groups = [
            {
                "targets": [f"{pod['status']['podIP']}:9090"],
                "labels": {"namespace": NAMESPACE, "pod": pod["metadata"]["name"]},
            }
            for pod in pods("app.kubernetes.io/name=ferry")
            if pod["status"].get("phase") == "Running" and "podIP" in pod["status"]
        ]
        fresh = targets.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(targets)
        time.sleep(_PAUSE)


def measured(query: str, names: list[str]) -> dict[str, float]:
    """What Prometheus says of these pods; a pod that it does not know is left out."""
    if not names:
        return {}
    asked = quote(query.replace(PODS, "|".join(names)))
    with urllib.request.urlopen(f"http://localhost:9090/api/v1/query?query={asked}", timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return {item["metric"]["pod"]: float(item["value"][1]) for item in found}


def main(query: str, targets: str, keys: str) -> None:
    threading.Thread(target=discover, args=(Path(targets),), daemon=True).start()
    told = MetricsApi(
        lambda selector: [pod["metadata"]["name"] for pod in pods(selector)], lambda names: measured(query, names)
    )
    server(told, ("", 6443), Path(keys, "tls.crt"), Path(keys, "tls.key")).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
