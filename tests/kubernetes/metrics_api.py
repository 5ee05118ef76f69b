"""A stand-in for prometheus-adapter and metrics-server: tells an autoscaler whatever a test wants it to hear.

It needs nothing but Python: scenarios run it in a pod, too, where it asks a Prometheus (scenarios/adapter_pod.py).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
NAMESPACE = "ferry"
METRIC = "ferry_inference_in_flight"
CUSTOM, RESOURCE = "custom.metrics.k8s.io/v1beta2", "metrics.k8s.io/v1beta1"
HOME = "monitoring"


class MetricsApi:
    """What is told.

    Attributes:
        pods: names of the pods that a label selector matches.
        load: requests in flight, of all pods together; each has its share.
        cpu: used by the container `ferry` of each pod, a quantity.
        values: requests in flight of each of these pods; by default its share of `load`.
    """

    def __init__(
        self, pods: Callable[[str], list[str]], values: Callable[[list[str]], dict[str, float]] | None = None
    ) -> None:
        self.pods = pods
        self.values = values or (lambda pods: {pod: self.load / len(pods) for pod in pods})
        self.load = 0
        self.cpu = "100m"
        self.port = 0

    def answer(self, path: str) -> Json | None:
        """The answer to GET; None: there is nothing at this path."""
        url = urlsplit(path)
        asked = unquote(url.path)
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        place = f"/apis/{{}}/namespaces/{NAMESPACE}/pods"
        if asked == f"/apis/{CUSTOM}":
            return _resources(CUSTOM, f"pods/{METRIC}", "MetricValueList", "get")
        if asked == f"/apis/{RESOURCE}":
            return _resources(RESOURCE, "pods", "PodMetrics", "list")
        if asked == f"{place.format(CUSTOM)}/*/{METRIC}":
            return {
                "kind": "MetricValueList",
                "apiVersion": CUSTOM,
                "metadata": {},
                "items": [
                    {
                        "describedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": pod, "apiVersion": "/v1"},
                        "metric": {"name": METRIC},
                        "timestamp": now,
                        "value": f"{1000 * value:.0f}m",
                    }
                    for pod, value in self.values(self.pods(selector)).items()
                ],
            }
        if asked == place.format(RESOURCE):
            usage = {"cpu": self.cpu, "memory": "300Mi"}
            return {
                "kind": "PodMetricsList",
                "apiVersion": RESOURCE,
                "metadata": {},
                "items": [
                    {
                        "metadata": {"name": pod, "namespace": NAMESPACE},
                        "timestamp": now,
                        "window": "15s",
                        "containers": [{"name": "ferry", "usage": usage}],
                    }
                    for pod in self.pods(selector)
                ],
            }
        return None

    def registration(self) -> list[Json]:
        """Objects by which an API server passes questions for both groups on to `port` of this machine."""
        where = {"name": "stand-in", "namespace": HOME, "port": self.port}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "stand-in", "namespace": HOME},
                "spec": {"type": "ExternalName", "externalName": "localhost"},
            },
            *(registration_of(api, where) for api in (CUSTOM, RESOURCE)),
        ]


def registration_of(api: str, where: Json) -> Json:
    """By which an API server passes questions for a group and version on to the service `where`."""
    group, _, version = api.partition("/")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group,
            "version": version,
            "service": where,
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }


def _resources(api: str, name: str, kind: str, verb: str) -> Json:
    resource = {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": [verb]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": [resource]}


def server(told: MetricsApi, address: tuple[str, int], certificate: Path, key: Path) -> ThreadingHTTPServer:
    """Answers over TLS once its `serve_forever` runs; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = told.answer(self.path)
            body = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    listening = ThreadingHTTPServer(address, Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    told.port = listening.server_address[1]
    return listening


@contextmanager
def metrics_api(pods: Callable[[str], list[str]], certificate: Path, key: Path) -> Iterator[MetricsApi]:
    """Serves it over TLS on a free port."""
    told = MetricsApi(pods)
    listening = server(told, ("localhost", 0), certificate, key)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join(30)
