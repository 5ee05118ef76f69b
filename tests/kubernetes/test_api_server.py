"""Ferry at a real Kubernetes API: applied without a warning, scaled by Ferry's metric, rolled back whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest

from tests.deploy.composition import OVERLAYS, SINCE, selected
from tests.deploy.manifests import Json, name, of_kind, pod, render, walk
from tests.deploy.test_schemas import FOREIGN
from tests.kubernetes.control_plane import ControlPlane, control_plane, missing
from tests.kubernetes.kubectl import Kubectl
from tests.kubernetes.metrics_api import CUSTOM, HOME, METRIC, RESOURCE, MetricsApi, metrics_api
from tests.processes import until

CONTROLLERS = ("etcd", "kube-apiserver", "kube-controller-manager")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
needs_api = pytest.mark.skipif(bool(missing(*CONTROLLERS[:2])), reason=missing(*CONTROLLERS[:2]) or "-")
needs_controllers = pytest.mark.skipif(bool(missing(*CONTROLLERS)), reason=missing(*CONTROLLERS) or "-")
SCALED = "detector"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def kubectl(plane: ControlPlane) -> Kubectl:
    return Kubectl(plane.kubeconfig)


@needs_api
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_applied_without_a_warning(overlay: str, kubectl: Kubectl) -> None:
    server = json.loads(kubectl("version", "--output", "json"))["serverVersion"]
    version = (int(server["major"]), int(server["minor"].rstrip("+")))
    for components in selected(overlay, pairs=False):
        if any(SINCE.get(component, version) > version for component in components):
            continue
        left_out = kubectl.apply(render(overlay, components))
        # The restricted Pod Security Standard, enforced by the namespace, would have warned.
        for item in left_out:
            assert item["kind"] in FOREIGN[item["apiVersion"]]


@pytest.fixture
def told(plane: ControlPlane, kubectl: Kubectl) -> Iterator[MetricsApi]:
    """What autoscalers hear, through the API server."""

    def pods(selector: str) -> list[str]:
        return [name(item) for item in kubectl.get("pods", "--selector", selector)["items"]]

    with metrics_api(pods, plane.certificate, plane.key) as running:
        registration = tuple(running.registration())
        Kubectl(plane.kubeconfig, HOME).apply(registration)
        # An API server says Available some seconds before it passes questions on.
        paths = [f"/apis/{api}" for api in (CUSTOM, RESOURCE)]
        until(lambda: all(kubectl.succeeds("get", "--raw", path) for path in paths), what="both APIs", pause=0.2)
        yield running
        kubectl("delete", *(f"apiservice/{name(item)}" for item in of_kind(registration, "APIService")))


@needs_controllers
@pytest.mark.core
def test_the_autoscaler_follows_ferry_s_metric_up_and_down(kubectl: Kubectl, told: MetricsApi) -> None:
    objects = copy.deepcopy(render("cpu"))
    (scaler,) = [item for item in of_kind(objects, "HorizontalPodAutoscaler") if name(item) == SCALED]
    assert METRIC in [metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if "pods" in metric]
    # Its patience is tried by the simulator; here it would make the test last for minutes.
    down = scaler["spec"]["behavior"]["scaleDown"]
    down["stabilizationWindowSeconds"] = 0
    for policy in down["policies"]:
        policy["periodSeconds"] = 5
    kubectl.apply(objects)

    def settled(wanted: int) -> bool:
        """Does the kubelet's work, which is to say that pods run; then looks at the Deployment."""
        _run_pods(kubectl)
        return int(kubectl.get("deployment", SCALED)["spec"]["replicas"]) == wanted

    fewest = scaler["spec"]["minReplicas"]
    target = int(next(m["pods"]["target"]["averageValue"] for m in scaler["spec"]["metrics"] if "pods" in m))
    for load, pods in ((fewest, fewest), (2 * fewest * target, 2 * fewest), (0, fewest)):
        told.load = load
        until(lambda pods=pods: settled(pods), seconds=180, what=f"{pods} pods at a load of {load}", pause=0.5)  # type: ignore[misc]


def _run_pods(kubectl: Kubectl) -> None:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = json.dumps(
        {"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [condition]}}
    )
    for item in kubectl.get("pods", "--selector", f"app.kubernetes.io/component={SCALED}")["items"]:
        if item["status"].get("phase") == "Pending":
            # Fails where a rollout has taken the pod away meanwhile.
            kubectl.succeeds("patch", "pod", name(item), "--subresource=status", "--type=merge", "--patch", status)


@needs_controllers
@pytest.mark.core
def test_an_undo_brings_back_the_former_pods_with_their_configuration(kubectl: Kubectl) -> None:
    before = render("cpu")
    kubectl.apply(before)
    former = _gateway(kubectl)
    kubectl.apply(reconfigured(before))
    latter = _gateway(kubectl)
    assert configuration(former) != configuration(latter)
    kubectl("rollout", "undo", "deployment/gateway")
    undone = _gateway(kubectl)
    assert undone["spec"]["template"] == former["spec"]["template"]
    for config in configuration(undone):
        kubectl("get", "configmap", config)


def _gateway(kubectl: Kubectl) -> Json:
    """The gateway's Deployment, once the controller has made its latest revision of the template that it has now."""
    found: Json = {}

    def revised() -> bool:
        found.update(kubectl.get("deployment", "gateway"))
        return any(
            _revision(item) == _revision(found) and pod(item) == pod(found)
            for item in kubectl.get("replicasets")["items"]
        )

    until(revised, what="a revision of the gateway", pause=0.2)
    return found


def _revision(item: Json) -> str:
    return str(item["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision", ""))


def configuration(workload: Json) -> set[str]:
    """Names of the ConfigMaps that a workload reads."""
    keys = {"configMapRef", "configMapKeyRef", "configMap"}
    return {value["name"] for key, value in walk(pod(workload)) if key in keys}


def reconfigured(objects: tuple[Json, ...]) -> list[Json]:
    """The same with one setting changed, under the new name that kustomize would give its ConfigMap."""
    (settings,) = [item for item in of_kind(objects, "ConfigMap") if name(item).startswith("settings-")]
    new = "settings-0123456789"
    changed: list[Json] = json.loads(json.dumps(objects).replace(name(settings), new))
    (own,) = [item for item in changed if item["kind"] == "ConfigMap" and name(item) == new]
    own["data"]["FERRY_LOG_LEVEL"] = "debug"
    return changed


def test_a_changed_setting_changes_the_name_that_pods_refer_to() -> None:
    before = render("cpu")
    after = tuple(reconfigured(before))
    (old,) = [w for w in of_kind(before, "Deployment") if name(w) == "gateway"]
    (new,) = [w for w in of_kind(after, "Deployment") if name(w) == "gateway"]
    assert configuration(old) != configuration(new)
    assert configuration(new) <= {name(item) for item in of_kind(after, "ConfigMap")}
    assert "settings-0123456789" not in str(before)
