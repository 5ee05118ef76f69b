"""What the controller learns of the pods, and when: Prometheus behind its adapter, metrics-server, readiness."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.autoscaling.controller import Readings
from benchmarks.autoscaling.pod import Pod
from deploy.capacity.manifests import Deployed

SCRAPE_SECONDS = 15
"""Of the ServiceMonitor, and of metrics-server."""
AVERAGE_SECONDS = 60.0
"""The window of deploy/prometheus/adapter-values.yaml and of KEDA's queries."""
CPU_DELAY_SECONDS = 10.0
"""How old metrics-server's newest sample is besides: the kubelet refreshes its own every 10 to 15 s."""
CPU_INITIALIZATION_SECONDS = 300.0
"""--horizontal-pod-autoscaler-cpu-initialization-period."""


def read(now: float, pods: Sequence[Pod], deployed: Deployed) -> list[Readings]:
    """One entry for each metric of the autoscaler, over pods that are not being deleted."""
    scaler = deployed.autoscaler
    found = []
    if scaler.in_flight is not None:
        found.append(_in_flight(now, pods, scaler.in_flight))
    if scaler.cpu is not None:
        found.append(_cpu(now, pods, scaler.cpu, deployed.cpu_request))
    return found


def _in_flight(now: float, pods: Sequence[Pod], wanted: float) -> Readings:
    ratios: list[float] = []
    missing = ignored = 0
    for pod in pods:
        if now < pod.running:
            ignored += 1
            continue
        samples = [value for when, value in pod.in_flight if when > now - AVERAGE_SECONDS]
        if samples:
            ratios.append(sum(samples) / len(samples) / wanted)
        else:
            missing += 1
    return Readings(tuple(ratios), missing, ignored)


def _cpu(now: float, pods: Sequence[Pod], wanted: float, request: float) -> Readings:
    ratios: list[float] = []
    missing = ignored = 0
    for pod in pods:
        if now < pod.running:
            ignored += 1
            continue
        samples = [sample for sample in pod.used if sample[0] <= now - CPU_DELAY_SECONDS][-2:]
        if len(samples) < 2:
            missing += 1
            continue
        (before, used_before), (when, used) = samples
        fresh = now < pod.running + CPU_INITIALIZATION_SECONDS
        if fresh and (now < pod.ready or when < pod.ready + (when - before)):
            ignored += 1
            continue
        ratios.append((used - used_before) / (when - before) / request / wanted)
    return Readings(tuple(ratios), missing, ignored, missing_ratio=max(1.0, wanted) / wanted)
