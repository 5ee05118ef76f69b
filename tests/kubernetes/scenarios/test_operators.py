"""Components for clusters that have other projects' operators: what these make of Ferry's objects."""

from __future__ import annotations

import pytest
import yaml

from tests.deploy.manifests import render
from tests.kubernetes.scenarios.cluster import Cluster
from tests.kubernetes.scenarios.conftest import judged


@pytest.mark.parametrize(
    ("operator", "group", "component"),
    [
        ("KEDA", "keda.sh", "keda"),
        ("Argo Rollouts", "argoproj.io", "argo-rollouts"),
        ("the Gateway API", "gateway.networking.k8s.io", "gateway-api"),
        ("cert-manager", "cert-manager.io", "mtls"),
        ("Prometheus' operator", "monitoring.coreos.com", "monitoring"),
    ],
)
def test_an_operator_takes_its_component(
    operator: str, group: str, component: str, installed: Cluster, request: pytest.FixtureRequest
) -> None:
    with judged(request.config, f"component {component}, as {operator} takes it") as run:
        if not any(version.startswith(f"{group}/") for version in installed.kubectl("api-versions").split()):
            pytest.skip(f"not on this cluster: {operator}")
        objects = [item for item in render("cpu", (component,)) if item["apiVersion"].startswith(f"{group}/")]
        assert objects
        text = yaml.safe_dump_all(objects)
        arguments = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "-")
        installed.kubectl(*arguments, text=text, warnings=False)
        run.fact(f"{len(objects)} objects taken by a server-side dry run, without a warning")
