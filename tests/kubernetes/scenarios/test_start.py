"""How long a container takes from its start until it serves, on nodes that have nothing else to do."""

from __future__ import annotations

import json

import pytest

from tests.deploy.manifests import name
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import judged

SERVICES = ("gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface")


def started(cluster: Cluster, component: str) -> list[float]:
    """Seconds from the start of its process to SERVING, as each pod's log says."""
    found = []
    for pod in cluster.pods(component):
        for line in cluster.kubectl("logs", name(pod)).splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "seconds_to_serving" in said:
                found.append(float(said["seconds_to_serving"]))
    return found


def test_from_the_start_of_a_container_to_serving(installed: Cluster, request: pytest.FixtureRequest) -> None:
    with judged(request.config, "from the start of a container to SERVING, one pod after the other") as run:
        for component in SERVICES:
            installed.kubectl("rollout", "restart", f"deployment/{component}")
            installed.settled()
            seconds = sorted(started(installed, component))
            assert len(seconds) == 2, f"{component} does not say how long it took"
            run.fact(f"{component}: {', '.join(f'{value:.2f}' for value in seconds)} s")
        # Of pods that end, readiness probes may miss a process that has ended already.
        assert not installed.unhealthy("Startup"), "a good start leaves no warning"
