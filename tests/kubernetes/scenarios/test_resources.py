"""What containers take, by their cgroups and by the kubelet, beside what the base asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.capacity.quantity import quantity
from tests.deploy.expressions import KUBELET, in_dashboards, rules, selectors
from tests.deploy.manifests import containers, ferry, name, render
from tests.kubernetes.kubectl import NAMESPACE
from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import PHOTO, calling
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import judged
from tests.kubernetes.scenarios.test_hostile import deadly
from tests.processes import until

READ = """
cd /sys/fs/cgroup
if [ -e memory.peak ]; then
  echo current $(cat memory.current); echo peak $(cat memory.peak)
  cat cpu.stat memory.events memory.stat
else
  echo current $(cat memory/memory.usage_in_bytes); echo peak $(cat memory/memory.max_usage_in_bytes)
  echo usage_usec $(($(cat cpuacct/cpuacct.usage) / 1000))
  cat memory/memory.oom_control memory/memory.stat
fi
"""
"""The same words of cgroups of version 2 and 1."""
REST = 10.0
"""Seconds without a call."""


@dataclass(frozen=True, slots=True)
class Taken:
    """By one pod, or by those of a service that took the most.

    Attributes:
        memory: bytes that the system cannot take back at once, which is what counts against a request.
        peak: bytes at most since the start, with what is kept of files.
        cpus: used at once, on average.
        killed: processes that the kernel ended for want of memory.
    """

    memory: int
    peak: int
    cpus: float
    killed: int


def cgroup(cluster: Cluster, pod: str) -> dict[str, int]:
    lines = cluster.kubectl("exec", pod, "--", "sh", "-c", READ).splitlines()
    return {key: int(value) for key, value in (line.split() for line in lines)}


def taken(cluster: Cluster, components: Sequence[str], meanwhile: Callable[[], object]) -> dict[str, Taken]:
    """By the pods of each service while something goes on."""
    pods = {name(pod): component for component in components for pod in cluster.pods(component)}
    first = {pod: (time.monotonic(), cgroup(cluster, pod)) for pod in pods}
    meanwhile()
    found: dict[str, list[Taken]] = {component: [] for component in components}
    for pod, component in pods.items():
        (began, before), now = first[pod], cgroup(cluster, pod)
        cpus = (now["usage_usec"] - before["usage_usec"]) / 1e6 / (time.monotonic() - began)
        found[component].append(Taken(now["current"] - now["inactive_file"], now["peak"], cpus, now["oom_kill"]))
    return {
        component: Taken(
            max(one.memory for one in all_),
            max(one.peak for one in all_),
            max(one.cpus for one in all_),
            sum(one.killed for one in all_),
        )
        for component, all_ in found.items()
    }


def test_requests_and_limits_hold_what_containers_take(installed: Cluster, request: pytest.FixtureRequest) -> None:
    asked = {name(item): containers(item)[0]["resources"] for item in ferry(render("cpu"))}
    outside = installed.in_namespace(callers.NAMESPACE)
    outside.apply([callers.program({PHOTO.name: PHOTO.read_bytes(), "deadly.webp": deadly()})])
    hostile = ("--callers=2", "--calls=3", "--timeout=60")
    with judged(request.config, "memory and CPU at rest, under load, under hostile pictures") as run:
        # What other scenarios left in their memory is not what a service takes.
        installed.kubectl("rollout", "restart", "deployment")
        installed.settled()
        before = installed.restarts()
        rest = taken(installed, [*asked], lambda: time.sleep(REST))
        with calling(outside, "load", "--callers=8", "--pause=0", "--timeout=60", node=installed.steady) as made:
            run.outcome.calls = made.calls
            end = len(made.calls) + 150
            run.event("eight callers")
            load = taken(
                installed, [*asked], lambda: until(lambda: len(made.calls) >= end, seconds=240, what="150 answers")
            )
            run.event("hostile pictures")
            with calling(outside, "hostile", *hostile, image="deadly.webp", node=installed.steady) as sent:
                most = taken(installed, [*asked], sent.finished)
        listed = installed.kubectl("top", "pods", "--no-headers")
        for component, resources in asked.items():
            (least, limit) = (
                {what: float(quantity(value)) for what, value in resources[kind].items()}
                for kind in ("requests", "limits")
            )
            run.fact(
                f"{component}: {rest[component].memory >> 20}, {load[component].memory >> 20}, "
                f"{most[component].memory >> 20} MiB, at most {most[component].peak >> 20}, of "
                f"{least['memory'] / 2**20:.0f} asked for and {limit['memory'] / 2**20:.0f} allowed; "
                f"{rest[component].cpus:.3f}, {load[component].cpus:.2f} CPUs of {least['cpu']:g} and {limit['cpu']:g}"
            )
            assert rest[component].memory <= least["memory"], f"{component} takes more at rest than it asks for"
            assert most[component].peak <= limit["memory"]
            assert not most[component].killed, f"{component}: processes were killed for want of memory"
            assert all(name(pod) in listed for pod in installed.pods(component)), f"kubectl top: {listed}"
        assert not run.outcome.failures, run.outcome.said()
        assert installed.restarts() == before


def test_the_kubelet_has_what_dashboards_and_rules_ask_it_for(
    installed: Cluster, request: pytest.FixtureRequest
) -> None:
    expressions = [*in_dashboards(), *(rule["expr"] for rule in rules())]
    wanted = {series for expression in expressions for series, _ in selectors(expression) if series in KUBELET}
    assert wanted
    with judged(request.config, "the kubelet's own metrics for dashboards and rules") as run:
        pods = {name(pod) for item in ferry(render("cpu")) for pod in installed.pods(name(item))}

        lacking: list[str] = []

        def complete() -> bool:
            there = of_kubelets(installed)
            named = any(one.get("container") for samples in there.values() for one in samples)
            if not named and not run.outcome.facts:
                run.fact("this kubelet does not find its container runtime and names pods only, so pods are compared")
            lacking.clear()
            for series in sorted(wanted):
                found = [one for one in there.get(series, []) if one.get("container") == ("ferry" if named else "")]
                assert all(one.keys() >= KUBELET[series] for one in found), series
                lacking.extend([series] if not {one["pod"] for one in found} >= pods else [])
            return not lacking

        # A kubelet looks at new containers once in ten seconds.
        with suppress(TimeoutError):
            until(complete, seconds=60, what="every series of every pod", pause=2)
        assert not lacking, f"{', '.join(lacking)} lack pods"
        run.fact(f"{len(wanted)} series of the kubelet, each with all {len(pods)} pods")


def of_kubelets(cluster: Cluster) -> dict[str, list[dict[str, str]]]:
    """Labels of all samples of each series, of all nodes, where they are Ferry's."""
    there: dict[str, list[dict[str, str]]] = {}
    for node in cluster.kubectl.get("nodes")["items"]:
        text = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{name(node)}/proxy/metrics/cadvisor")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("namespace") == NAMESPACE:
                    there.setdefault(sample.name, []).append(sample.labels)
    return there
