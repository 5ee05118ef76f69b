"""Replicas, CPU, memory and GPU, as the kubelet (cAdvisor), kube-state-metrics and the services tell them."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row
from deploy.grafana.promql import NS

_POD = f'{NS},container="ferry"'
_SERVICE = "{{service}}"
_GPU = "{{job}} GPU {{gpu}}"


def _by_service(expression: str, function: str) -> str:
    """Names the Deployment instead of each pod, whose name ends with two hashes."""
    labelled = f'label_replace({expression}, "service", "$1", "pod", "(.+)-[a-z0-9]+-[a-z0-9]+")'
    return f"{function} by (service) ({labelled})"


_CPU = f"rate(container_cpu_usage_seconds_total{{{_POD}}}[$__rate_interval])"
_THROTTLED = f"rate(container_cpu_cfs_throttled_periods_total{{{_POD}}}[$__rate_interval])"
_PERIODS = f"rate(container_cpu_cfs_periods_total{{{_POD}}}[$__rate_interval])"
_MEMORY = f"container_memory_working_set_bytes{{{_POD}}}"
_LIMIT = f'kube_pod_container_resource_limits{{{_POD},resource="memory"}}'
_RESTARTS = f"increase(kube_pod_container_status_restarts_total{{{_POD}}}[1h])"

RESOURCES = Dashboard(
    "resources",
    "Ferry: resources",
    "Whether there is enough of everything. Needs the kubelet's and kube-state-metrics' metrics.",
    (
        Row(
            "Replicas",
            (
                Panel(
                    "Available",
                    "Pods that serve. A dip is a rollout, a drain or a crash: see restarts.",
                    (
                        Query(
                            f"sum by (deployment) (kube_deployment_status_replicas_available{{{NS}}})", "{{deployment}}"
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Of the maximum",
                    "Share of the replicas that autoscaling may start. At 100 % more load queues.",
                    (
                        Query(
                            "sum by (horizontalpodautoscaler) "
                            f"(kube_horizontalpodautoscaler_status_current_replicas{{{NS}}}) / "
                            "sum by (horizontalpodautoscaler) "
                            f"(kube_horizontalpodautoscaler_spec_max_replicas{{{NS}}})",
                            "{{horizontalpodautoscaler}}",
                        ),
                    ),
                    unit="percentunit",
                    width=12,
                    steps=((YELLOW, 0.8), (RED, 1.0)),
                ),
            ),
        ),
        Row(
            "CPU and memory",
            (
                Panel("CPUs used", "All replicas together.", (Query(_by_service(_CPU, "sum"), _SERVICE),)),
                Panel(
                    "Throttled",
                    "Share of periods in which a container hit its CPU limit. High and slow: more replicas.",
                    (Query(f"{_by_service(_THROTTLED, 'sum')} / {_by_service(_PERIODS, 'sum')}", _SERVICE),),
                    unit="percentunit",
                    steps=((RED, 0.25),),
                ),
                Panel(
                    "Memory of its limit",
                    "The fullest replica. At 100 % it is killed.",
                    (
                        Query(
                            f"{_by_service(_MEMORY, 'max')} / {_by_service(_LIMIT, 'max')}",
                            _SERVICE,
                        ),
                    ),
                    unit="percentunit",
                    steps=((YELLOW, 0.8), (RED, 0.95)),
                ),
                Panel(
                    "Restarts in an hour",
                    "Should be 0. Reason: kubectl describe pod, and the log with --previous.",
                    (Query(_by_service(_RESTARTS, "sum"), _SERVICE),),
                    steps=((RED, 1.0),),
                ),
            ),
        ),
        Row(
            "GPU",
            (
                Panel(
                    "Busy",
                    "Share of the time in which a GPU computes. Empty: there is none. Low while models queue: the CPUs "
                    "that feed it are the bottleneck.",
                    (Query(f"max by (job, gpu) (ferry_gpu_utilization_ratio{{{NS}}})", _GPU),),
                    unit="percentunit",
                    width=12,
                    maximum=1,
                ),
                Panel(
                    "Memory",
                    "In use on the fullest GPU of a service. It should be level; what only grows ends in a restart.",
                    (Query(f"max by (job, gpu) (ferry_gpu_memory_bytes{{{NS}}})", _GPU),),
                    unit="bytes",
                    width=12,
                ),
            ),
        ),
    ),
)
