"""What is simulated and planned with is what the overlay deploys."""

from __future__ import annotations

import math

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


def most_for_one_start(request: float, limit: float, share: float) -> float:
    """Pods that a CPU metric asks for because of one that starts: that takes up to its limit, and counts once ready."""
    return limit / (request * share)


def test_a_starting_pod_does_not_drive_the_autoscaler_up() -> None:
    for service, deployed in read_manifests(ROOT / BASE).items():
        scaler = deployed.autoscaler
        assert scaler.cpu is not None, service
        assert most_for_one_start(deployed.cpu_request, deployed.cpu_limit, scaler.cpu) <= 2, service
        if scaler.in_flight is not None:
            # How busy a pod is when its queue is what is aimed at (docs/capacity.md): CPU then has nothing to say.
            busy = 1 + scaler.in_flight - math.sqrt(1 + scaler.in_flight**2)
            assert deployed.cpu_request * scaler.cpu > busy * deployed.cpu_limit, service


def test_the_small_requests_of_a_trial_would_and_have_no_autoscaler() -> None:
    objects = render("local")
    (detector,) = [w for w in ferry(objects) if name(w) == "detector"]
    request = quantity(containers(detector)[0]["resources"]["requests"]["cpu"])
    share = read_manifests(ROOT / BASE)["detector"].autoscaler.cpu
    assert share is not None
    assert most_for_one_start(request, 1, share) > 20
    assert not of_kind(objects, "HorizontalPodAutoscaler")
