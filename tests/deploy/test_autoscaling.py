"""What is simulated and planned with is what the overlay deploys."""

from __future__ import annotations

from deploy.capacity.autoscaler import parse
from deploy.capacity.manifests import BASE, read_manifests
from tests.deploy.manifests import ROOT, containers, ferry, name, of_kind, render
from tests.deploy.quantities import quantity


def test_the_overlay_scales_as_the_base_says() -> None:
    planned = read_manifests(ROOT / BASE)
    objects = render("cpu")
    scalers = {name(item): parse(item) for item in of_kind(objects, "HorizontalPodAutoscaler")}
    assert scalers == {service: deployed.autoscaler for service, deployed in planned.items()}
    for workload in ferry(objects):
        resources = containers(workload)[0]["resources"]
        deployed = planned[name(workload)]
        assert quantity(resources["requests"]["cpu"]) == deployed.cpu_request
        assert quantity(resources["limits"]["cpu"]) == deployed.cpu_limit


def test_reasons_stand_beside_the_numbers() -> None:
    text = (ROOT / BASE / "autoscaling.yaml").read_text()
    comments = text[: text.index("apiVersion")]
    for value in ("window 0", "100 %", "two pods", "every 30 s", "window 300", "20 %", "every 60 s", "minReplicas 2"):
        assert value in comments, value
