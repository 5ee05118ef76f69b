"""Every selector matches, every name and port resolves: what the API server accepts and nobody would notice."""

from __future__ import annotations

import re

import pytest

from tests.deploy.manifests import (
    COMBINATIONS,
    containers,
    labels,
    name,
    of_kind,
    pod,
    render,
    selects,
    walk,
    workloads,
)

pytestmark = pytest.mark.parametrize(("overlay", "components"), COMBINATIONS)


def test_names_are_unique(overlay: str, components: tuple[str, ...]) -> None:
    seen = [(item["kind"], name(item)) for item in render(overlay, components)]
    assert len(seen) == len(set(seen))


def test_each_workload_selects_its_own_pods_and_no_others(overlay: str, components: tuple[str, ...]) -> None:
    objects = workloads(render(overlay, components))
    for workload in objects:
        matched = [name(other) for other in objects if selects(workload["spec"]["selector"], labels(other))]
        assert matched == [name(workload)]


def test_each_service_selects_one_workload_and_its_ports_exist(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    for service in of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (workload,) = (w for w in workloads(objects) if selects(selector, labels(w)))
        declared = {p["name"]: p["containerPort"] for c in containers(workload) for p in c.get("ports", [])}
        for port in service["spec"]["ports"]:
            assert declared[port["targetPort"]] == port["port"], name(service)


def test_probes_ask_a_port_that_exists(overlay: str, components: tuple[str, ...]) -> None:
    for workload in workloads(render(overlay, components)):
        for container in pod(workload)["containers"]:
            ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
            probes = [
                container[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in container
            ]
            assert len(probes) >= 2
            for probe in probes:
                (action,) = (probe[key] for key in ("grpc", "httpGet", "tcpSocket") if key in probe)
                if "grpc" in probe:
                    # Names are not allowed here, and the schema does not say so.
                    assert isinstance(action["port"], int)
                assert action["port"] in {*ports, *ports.values()}, name(workload)


def test_every_name_resolves(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    have = {(item["kind"], name(item)) for item in objects}
    made = {item["spec"]["secretName"] for item in of_kind(objects, "Certificate")}
    for workload in workloads(objects):
        spec = pod(workload)
        needed = {("ServiceAccount", spec["serviceAccountName"]), ("PriorityClass", spec["priorityClassName"])}
        for key, value in walk(spec):
            if key in {"configMapRef", "configMapKeyRef", "configMap"}:
                needed.add(("ConfigMap", value["name"]))
            if key in {"secretRef", "secretKeyRef"}:
                # Secrets are not in the repository; what starts without them says so.
                assert value.get("optional") is True
            if key == "secret":
                # Keys are the operator's to make: without them nobody is let in.
                assert value["secretName"] in made | {"api-keys"}
        assert needed <= have, name(workload)
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        assert volumes == {m["name"] for c in containers(workload) for m in c.get("volumeMounts", [])}


def test_every_scaler_has_its_target_and_no_target_two(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    have = {(item["apiVersion"], item["kind"], name(item)): item for item in workloads(objects)}
    targets = []
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", **scaler["spec"]["scaleTargetRef"]}
        target = (reference["apiVersion"], reference["kind"], reference["name"])
        targets.append(target)
        # Would reset what the scaler has set, at every apply.
        assert "replicas" not in have[target]["spec"]
    assert len(targets) == len(set(targets))


def test_every_budget_covers_pods_once_and_lets_a_drain_go_on(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    covered = []
    for budget in of_kind(objects, "PodDisruptionBudget"):
        covered += [name(w) for w in workloads(objects) if selects(budget["spec"]["selector"], labels(w))]
        assert budget["spec"]["maxUnavailable"] >= 1
        assert "minAvailable" not in budget["spec"]
    # The eviction of a pod with two budgets is refused.
    assert len(covered) == len(set(covered))
    assert set(covered) >= {name(w) for w in workloads(objects)} - {"otel-collector"}


def test_images_carry_a_tag_or_a_digest(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    images = [c["image"] for w in workloads(objects) for c in containers(w)]
    images += [value["reference"] for key, value in walk(list(objects)) if key == "image" and isinstance(value, dict)]
    for image in images:
        assert re.search(r"(:[\w.-]+|@sha256:[0-9a-f]{64})$", image.rpartition("/")[2]), image
        assert not image.endswith(":latest")


def test_nothing_is_left_outside_the_namespace(overlay: str, components: tuple[str, ...]) -> None:
    for item in render(overlay, components):
        if item["kind"] not in {"Namespace", "PriorityClass"}:
            assert item["metadata"]["namespace"] == "ferry", name(item)


def test_configuration_changes_its_name_with_its_content(overlay: str, components: tuple[str, ...]) -> None:
    for item in of_kind(render(overlay, components), "ConfigMap"):
        if not name(item).startswith("dashboard-"):
            assert re.search(r"-[a-z0-9]{10}$", name(item)), name(item)
