"""A stand-in for the kubelet and kube-state-metrics: what they would say of the pods of a cluster, over real HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tests.processes import free_port

AT_MAXIMUM = "classifier-arcface"
"""Whose autoscaler has reached its end, so that one alert is pending."""
_PER_POD = ("namespace", "pod", "container")


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
        for name, value in (
            ("container_cpu_usage_seconds", 0.5 * n),
            ("container_cpu_cfs_periods", 10.0 * n),
            ("container_cpu_cfs_throttled_periods", 1.0 * n),
            ("kube_pod_container_status_restarts", 0.0),
        ):
            counter = CounterMetricFamily(name, name, labels=_PER_POD)
            self._fill(counter, (), value)
            yield counter
        memory = GaugeMetricFamily("container_memory_working_set_bytes", "bytes", labels=_PER_POD)
        limits = GaugeMetricFamily("kube_pod_container_resource_limits", "limit", labels=(*_PER_POD, "resource"))
        self._fill(memory, (), 300.0 * 2**20)
        self._fill(limits, ("memory",), 768.0 * 2**20)
        yield from (memory, limits)
        available = GaugeMetricFamily(
            "kube_deployment_status_replicas_available", "pods", labels=("namespace", "deployment")
        )
        scaler = ("namespace", "horizontalpodautoscaler")
        current = GaugeMetricFamily("kube_horizontalpodautoscaler_status_current_replicas", "pods", labels=scaler)
        most = GaugeMetricFamily("kube_horizontalpodautoscaler_spec_max_replicas", "pods", labels=scaler)
        for deployment in set(self._pods.values()):
            available.add_metric(("ferry", deployment), 2)
            current.add_metric(("ferry", deployment), 20 if deployment == AT_MAXIMUM else 2)
            most.add_metric(("ferry", deployment), 20)
        yield from (available, current, most)

    def _fill(self, metric: CounterMetricFamily | GaugeMetricFamily, more: Sequence[str], value: float) -> None:
        for pod in self._pods:
            metric.add_metric(("ferry", pod, "ferry", *more), value)


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
