"""A stand-in for the kubelet and kube-state-metrics: what they would say of the pods of a cluster, over real HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tests.deploy.expressions import KUBERNETES
from tests.processes import free_port

AT_MAXIMUM = "classifier-arcface"
"""Whose autoscaler has reached its end, so that one alert is pending."""


class KubernetesMetrics(Collector):
    """Every counter grows from scrape to scrape; CPU limits are hit in a tenth of the periods."""

    def __init__(self, pods: dict[str, str]) -> None:
        """
        Args:
            pods: Deployment by name of the pod.
        """
        self._pods = pods
        self._scrapes = itertools.count(1)

    def collect(self) -> Iterable[Metric]:
        n = next(self._scrapes)
        pods = [{"pod": pod, "container": "ferry", "name": f"{pod}-ferry", "uid": f"uid-{pod}"} for pod in self._pods]
        for name, value, more in (
            ("container_cpu_usage_seconds_total", 0.5 * n, {"cpu": "total"}),
            ("container_cpu_cfs_periods_total", 10.0 * n, {}),
            ("container_cpu_cfs_throttled_periods_total", 1.0 * n, {}),
            ("container_memory_working_set_bytes", 300.0 * 2**20, {}),
            ("kube_pod_container_status_restarts_total", 0.0, {}),
            ("kube_pod_container_resource_limits", 768.0 * 2**20, {"resource": "memory", "unit": "byte"}),
        ):
            yield _family(name, [(pod | more, value) for pod in pods])
        deployments = sorted(set(self._pods.values()))
        yield _family("kube_deployment_status_replicas_available", [({"deployment": one}, 2.0) for one in deployments])
        for name in ("status_current", "spec_max"):
            scalers = [
                ({"horizontalpodautoscaler": one}, 20.0 if name == "spec_max" or one == AT_MAXIMUM else 2.0)
                for one in deployments
            ]
            yield _family(f"kube_horizontalpodautoscaler_{name}_replicas", scalers)


def _family(name: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Metric:
    """With exactly the labels that Kubernetes gives it; what the samples do not say is like everywhere."""
    labels = sorted(KUBERNETES[name])
    everywhere = {"namespace": "ferry", "node": "node-1", "id": "/kubepods/pod", "image": "localhost/ferry"}
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name.removesuffix("_total"), name, labels=labels)
    for given, value in samples:
        family.add_metric([(everywhere | dict(given))[label] for label in labels], value)
    return family


@contextmanager
def kubernetes_exporter(pods: dict[str, str]) -> Iterator[int]:
    """The port of a server of these metrics."""
    registry = CollectorRegistry()
    registry.register(KubernetesMetrics(pods))
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
