"""Reading what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.capacity.autoscaler import DOWN, UP, Policy, Rules, Select, parse
from deploy.capacity.manifests import ManifestsError, read_manifests
from tests.processes import ROOT

BASE = ROOT / "deploy/k8s/base"


def test_the_deployed_autoscalers_are_read() -> None:
    found = read_manifests(BASE)
    assert found.keys() == {"gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface"}
    detector = found["detector"]
    assert (detector.cpu_limit, detector.memory_request) == (1.0, 1024 * 2**20)
    assert detector.autoscaler.up.policies == (Policy(True, 100, 30), Policy(False, 2, 30))
    assert detector.autoscaler.down.window_seconds == 300
    # Of the Deployment itself, and of the ConfigMap that all share.
    assert detector.settings["FERRY_MAX_BATCH"] == "1"
    assert detector.settings["FERRY_MAX_CONNECTION_AGE"] == "30"


def test_every_model_is_scaled_on_its_queue_and_then_on_cpu() -> None:
    for name, deployed in read_manifests(BASE).items():
        scaler = deployed.autoscaler
        models = name not in {"gateway", "ensembler"}
        assert (scaler.in_flight is not None) == models
        assert scaler.cpu is not None
        # A target that the limit makes unreachable would never scale.
        assert scaler.cpu * deployed.cpu_request < deployed.cpu_limit
        # Up at once, down slowly.
        assert scaler.up.window_seconds < scaler.down.window_seconds


def _hpa(**spec: object) -> dict[str, object]:
    metric = {
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "ferry", "target": {"averageUtilization": 80}},
    }
    given = {"scaleTargetRef": {"name": "x"}, "maxReplicas": 4, "metrics": [metric], **spec}
    return {"metadata": {"name": "x"}, "spec": given}


def test_what_is_not_said_is_what_kubernetes_assumes() -> None:
    scaler = parse(_hpa())
    assert (scaler.min_replicas, scaler.max_replicas, scaler.in_flight, scaler.cpu) == (1, 4, None, 0.8)
    assert (scaler.up, scaler.down) == (UP, DOWN)


def test_behaviour_is_read() -> None:
    policies = [{"type": "Pods", "value": 3, "periodSeconds": 20}]
    up = {"stabilizationWindowSeconds": 7, "selectPolicy": "Min", "policies": policies, "tolerance": "50m"}
    scaler = parse(_hpa(behavior={"scaleUp": up}))
    assert scaler.up == Rules(7, Select.MIN, (Policy(False, 3, 20),), 0.05)
    assert scaler.down == DOWN


def test_a_metric_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x: metric .* is not known"):
        parse(_hpa(metrics=[{"type": "External"}]))


def test_a_folder_without_autoscalers_or_without_a_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestsError, match="no autoscalers"):
        read_manifests(tmp_path)
    item = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", **_hpa()}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(item))
    with pytest.raises(ManifestsError, match="x is missing"):
        read_manifests(tmp_path)
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(ManifestsError, match=r"x\.yaml"):
        read_manifests(tmp_path)
