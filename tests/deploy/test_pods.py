"""Pods are hardened, sized, probed and drained as the services need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.recognize.stream import MAX_FRAME_BYTES
from gateway.service import GatewayService
from gateway.settings import GatewaySettings
from services.classifier.service import ClassifierService
from services.classifier.settings import ClassifierSettings
from services.detector.service import DetectorService
from services.detector.settings import DetectorSettings
from services.ensembler.recipe import read_recipe
from services.ensembler.service import EnsemblerService
from services.ensembler.settings import EnsemblerSettings
from serving.health import PATIENT_SECONDS
from serving.repository.fetch import FetchSettings
from serving.server import Service
from serving.settings import ServiceSettings, load
from tests.deploy.composition import OVERLAYS
from tests.deploy.manifests import (
    COMBINATIONS,
    ROOT,
    Json,
    containers,
    ferry,
    labels,
    name,
    of_kind,
    pod,
    render,
    service,
    variables,
    workloads,
)
from tests.deploy.quantities import quantity

SERVICES: dict[str, tuple[type[ServiceSettings], type[Service]]] = {
    "gateway": (GatewaySettings, GatewayService),
    "ensembler": (EnsemblerSettings, EnsemblerService),
    "detector": (DetectorSettings, DetectorService),
    "classifier-efficientnet": (ClassifierSettings, ClassifierService),
    "classifier-arcface": (ClassifierSettings, ClassifierService),
}
ALL = pytest.mark.parametrize(("overlay", "components"), COMBINATIONS)
EACH_OVERLAY = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch):
    """Reads a Deployment's environment as its process would."""

    def read(workload: Json, objects: tuple[Json, ...]) -> ServiceSettings:
        for variable in list(os.environ):
            if variable.startswith("FERRY_"):
                monkeypatch.delenv(variable)
        for variable, value in variables(workload, objects).items():
            monkeypatch.setenv(variable, value)
        return load(SERVICES[service(workload)][0], [])

    return read


@ALL
def test_pods_meet_the_restricted_standard(overlay: str, components: tuple[str, ...]) -> None:
    for workload in workloads(render(overlay, components)):
        spec = pod(workload)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(
            {"emptyDir", "configMap", "secret", "image", "projected"} & volume.keys()
            for volume in spec.get("volumes", [])
        )
        for container in containers(workload):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not any("hostPort" in port for port in container.get("ports", []))


@ALL
def test_no_variable_of_a_service_link_can_be_taken_for_a_setting(overlay: str, components: tuple[str, ...]) -> None:
    for workload in workloads(render(overlay, components)):
        assert pod(workload)["enableServiceLinks"] is False


@ALL
def test_requests_and_limits_are_quantities_that_fit(overlay: str, components: tuple[str, ...]) -> None:
    for workload in workloads(render(overlay, components)):
        for container in containers(workload):
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            for resource in ("cpu", "memory"):
                assert 0 < quantity(requests[resource]) <= quantity(limits[resource]), name(workload)
        for volume in pod(workload).get("volumes", []):
            if "emptyDir" in volume:
                assert quantity(volume["emptyDir"]["sizeLimit"]) > 0


@ALL
def test_every_variable_is_a_setting_and_fits(overlay: str, components: tuple[str, ...], settings) -> None:
    objects = render(overlay, components)
    common = set(ServiceSettings.model_fields)
    for workload in ferry(objects):
        fields = set(SERVICES[service(workload)][0].model_fields)
        names = {item["name"] for item in pod(workload)["containers"][0]["env"]}
        assert {n.removeprefix("FERRY_").lower() for n in names} <= fields
        assert {n.removeprefix("FERRY_").lower() for n in variables(workload, objects)} - common <= fields
        settings(workload, objects)


@ALL
def test_a_drain_fits_its_grace_period(overlay: str, components: tuple[str, ...], settings) -> None:
    objects = render(overlay, components)
    for workload in ferry(objects):
        read = settings(workload, objects)
        sleep = pod(workload)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod(workload)["terminationGracePeriodSeconds"] > sleep + read.drain_delay + read.grace + 5


@EACH_OVERLAY
def test_ports_and_health_are_those_of_the_service(overlay: str, settings) -> None:
    objects = render(overlay)
    assert {name(w) for w in ferry(objects)} == set(SERVICES)
    for workload in ferry(objects):
        read = settings(workload, objects)
        container = pod(workload)["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        http = getattr(read, "http_port", 0)
        assert ports == {"grpc": read.port, "metrics": read.metrics_port, **({"http": http} if http else {})}
        assert read.host == "0.0.0.0"
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[kind]["grpc"]["port"] == read.port
        # What stands behind a service decides who is sent to it, and never whether it is killed.
        assert container["readinessProbe"]["grpc"]["service"] in SERVICES[service(workload)][1].grpc_services
        for kind in ("startupProbe", "livenessProbe"):
            assert not container[kind]["grpc"].get("service")
        # The first hears once that the process has started, the others at once what is.
        assert container["startupProbe"]["timeoutSeconds"] > PATIENT_SECONDS
        for kind in ("readinessProbe", "livenessProbe"):
            assert container[kind]["timeoutSeconds"] < PATIENT_SECONDS


@EACH_OVERLAY
def test_threads_follow_a_cpu_limit_of_whole_cpus(overlay: str, settings) -> None:
    objects = render(overlay)
    models = [w for w in ferry(objects) if w["metadata"]["labels"].get("ferry/runs-models") == "true"]
    assert len(models) == 3
    for workload in models:
        assert settings(workload, objects).threads == 0
        assert quantity(pod(workload)["containers"][0]["resources"]["limits"]["cpu"]).is_integer()


@EACH_OVERLAY
def test_the_gateway_s_bounds_fit_its_memory(overlay: str, settings) -> None:
    objects = render(overlay)
    (gateway,) = (w for w in ferry(objects) if name(w) == "gateway")
    read = settings(gateway, objects)
    limit = quantity(pod(gateway)["containers"][0]["resources"]["limits"]["memory"])
    drawing = 256 * 2**20 if read.http_port else 0
    streams = read.max_streams * (read.max_image_bytes + MAX_FRAME_BYTES)
    held = read.cache_bytes + read.max_receive_bytes + 6 * read.max_in_flight_bytes + drawing + streams
    assert 128 * 2**20 + held <= limit


@EACH_OVERLAY
def test_addresses_are_services_of_the_cluster(overlay: str, tmp_path: Path, settings) -> None:
    objects = render(overlay)
    reachable = {
        f"{name(service)}:{port['port']}"
        for service in of_kind(objects, "Service")
        for port in service["spec"]["ports"]
    }
    (gateway,) = (w for w in ferry(objects) if name(w) == "gateway")
    assert settings(gateway, objects).ensembler_address in reachable
    (data,) = (item["data"] for item in of_kind(objects, "ConfigMap") if name(item).startswith("recipe-"))
    (tmp_path / "recipe.toml").write_text(data["recipe.toml"])
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert {recipe.detector.address, *(entry.address for entry in recipe.classifiers)} <= reachable


@EACH_OVERLAY
def test_what_the_recipe_asks_for_is_what_the_models_serve(overlay: str, tmp_path: Path) -> None:
    objects = render(overlay)
    (data,) = (item["data"] for item in of_kind(objects, "ConfigMap") if name(item).startswith("recipe-"))
    (tmp_path / "recipe.toml").write_text(data["recipe.toml"])
    recipe = read_recipe(tmp_path / "recipe.toml")
    served = {name(w): variables(w, objects) for w in ferry(objects)}
    for entry in (recipe.detector, *recipe.classifiers):
        found = served[entry.address.partition(":")[0]]
        policy = found.get("FERRY_MODELS") or found["FERRY_MODEL"]
        assert policy.partition(":")[0] == entry.name


@EACH_OVERLAY
def test_the_version_label_is_the_version_served(overlay: str) -> None:
    objects = render(overlay)
    for workload in ferry(objects):
        found = variables(workload, objects)
        policy = found.get("FERRY_MODELS") or found.get("FERRY_MODEL")
        if policy is not None:
            marks = labels(workload)
            assert policy == f"{marks['ferry/model']}:{marks['ferry/model-version']}"


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_no_rollout_takes_a_replica_away_before_its_successor_serves(overlay: str) -> None:
    for workload in ferry(render(overlay)):
        assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert workload["spec"]["revisionHistoryLimit"] >= 2


@ALL
def test_a_rollout_is_given_the_time_that_a_start_may_take(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    for workload in ferry(objects):
        startup = pod(workload)["containers"][0]["startupProbe"]
        deadline = workload["spec"]["progressDeadlineSeconds"]
        seconds = max(startup["periodSeconds"], startup["timeoutSeconds"]) * startup["failureThreshold"]
        for container in range(len(pod(workload).get("initContainers", []))):
            seconds += float(variables(workload, objects, init=container)["FERRY_FETCH_TIMEOUT"])
        assert seconds < deadline


@pytest.mark.parametrize("components", [(), ("gpu-dra",)])
def test_each_model_has_a_gpu_and_a_place_for_its_engines(components: tuple[str, ...]) -> None:
    objects = render("gpu", components)
    for workload in ferry(objects):
        spec, (container,) = pod(workload), pod(workload)["containers"]
        models = workload["metadata"]["labels"].get("ferry/runs-models") == "true"
        found = variables(workload, objects)
        claims = [claim["name"] for claim in container["resources"].get("claims", [])]
        if not models:
            assert "tolerations" not in spec
            assert "FERRY_DEVICE" not in found
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            continue
        assert container["image"].rpartition(":")[0].endswith("-gpu")
        assert found["FERRY_DEVICE"] == "cuda"
        assert found["FERRY_ENGINE_CACHE"] in {m["mountPath"] for m in container["volumeMounts"]}
        # Asked for one way, never both: the pod would wait for two.
        if components:
            (claim,) = spec["resourceClaims"]
            (template,) = of_kind(objects, "ResourceClaimTemplate")
            assert claim["resourceClaimTemplateName"] == name(template)
            assert claims == [claim["name"]]
            assert "nvidia.com/gpu" not in container["resources"]["limits"]
        else:
            assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
            assert not claims


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_models_are_fetched_by_the_service_s_own_image_into_its_repository(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(overlay, ("models-fetch",))
    for workload in ferry(objects):
        spec, runs_models = pod(workload), workload["metadata"]["labels"].get("ferry/runs-models") == "true"
        assert ("initContainers" in spec) == runs_models
        if not runs_models:
            continue
        (fetch,), (service,) = spec["initContainers"], spec["containers"]
        assert fetch["image"] == service["image"]
        assert fetch["command"] == ["python", "-m", "serving.repository.fetch"]
        for variable, value in variables(workload, objects, init=0).items():
            assert variable.removeprefix("FERRY_").lower() in FetchSettings.model_fields
            monkeypatch.setenv(variable, value)
        read = load(FetchSettings, [])
        (mount,) = (m for m in service["volumeMounts"] if m["name"] == "models")
        assert mount["readOnly"] is True
        assert mount["mountPath"] == str(read.models_dir)
        (volume,) = (v for v in spec["volumes"] if v["name"] == "models")
        # The archive and what is unpacked of it.
        assert 2 * read.fetch_max_bytes < quantity(volume["emptyDir"]["sizeLimit"])


def test_the_autoscaler_keeps_a_gpu_s_batches_full_and_its_cpu_within_the_limit() -> None:
    objects = render("gpu")
    sized = {name(w): w for w in ferry(objects)}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        workload = sized[scaler["spec"]["scaleTargetRef"]["name"]]
        resources = pod(workload)["containers"][0]["resources"]
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] == "Pods":
                batch = float(variables(workload, objects)["FERRY_MAX_BATCH"])
                assert quantity(metric["pods"]["target"]["averageValue"]) > batch
            else:
                share = metric["containerResource"]["target"]["averageUtilization"] / 100
                assert share * quantity(resources["requests"]["cpu"]) < quantity(resources["limits"]["cpu"])


@EACH_OVERLAY
def test_no_pod_drives_pods_of_others_from_a_node(overlay: str) -> None:
    classes = of_kind(render(overlay), "PriorityClass")
    assert classes
    assert {item["preemptionPolicy"] for item in classes} == {"Never"}
    assert "path: /preemptionPolicy" in (ROOT / "docs/operations.md").read_text(), "how to allow it"
