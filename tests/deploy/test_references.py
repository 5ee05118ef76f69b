"""Every selector matches, every name and port resolves: what the API server accepts and nobody would notice."""

from __future__ import annotations

import re

import pytest

from tests.deploy.manifests import (
    COMBINATIONS,
    Json,
    containers,
    labels,
    name,
    of_kind,
    pod,
    render,
    selects,
    variables,
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


def test_every_other_selector_matches(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    pods = [labels(w) for w in workloads(objects)]
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        selectors = [spec["podSelector"]]
        for end, direction in (("from", "ingress"), ("to", "egress")):
            peers = [peer for rule in spec.get(direction, []) for peer in rule[end]]
            # Pods of other namespaces are not ours to know.
            selectors += [peer["podSelector"] for peer in peers if peer.keys() == {"podSelector"}]
        for selector in selectors:
            assert any(selects(selector, marks) for marks in pods), (name(policy), selector)
    for workload in workloads(objects):
        for constraint in pod(workload).get("topologySpreadConstraints", []):
            assert selects(constraint["labelSelector"], labels(workload)), name(workload)
            made = {"pod-template-hash", "rollouts-pod-template-hash"}
            assert set(constraint.get("matchLabelKeys", ())) - made <= labels(workload).keys()
    for monitor in of_kind(objects, "ServiceMonitor"):
        services = of_kind(objects, "Service")
        assert any(selects(monitor["spec"]["selector"], s["metadata"].get("labels", {})) for s in services)


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
    # Kubernetes writes the authority of its API server into every namespace.
    have = {(item["kind"], name(item)) for item in objects} | {("ConfigMap", "kube-root-ca.crt")}
    # cert-manager writes what a Certificate asks for.
    made = {item["spec"]["secretName"] for item in of_kind(objects, "Certificate")}
    for workload in workloads(objects):
        spec = pod(workload)
        needed = {("ServiceAccount", spec["serviceAccountName"]), ("PriorityClass", spec["priorityClassName"])}
        for key, value in walk(spec):
            if key in {"configMapRef", "configMapKeyRef", "configMap"}:
                needed.add(("ConfigMap", value["name"]))
            if key in {"secretRef", "secretKeyRef", "secret"}:
                # Secrets are not in the repository; what starts without them says so. Keys are the operator's to make:
                # without them nobody is let in.
                secret = value.get("name", value.get("secretName"))
                assert value.get("optional") is True or secret in made | {"api-keys", "jobs"}
        assert needed <= have, name(workload)
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        assert volumes == {m["name"] for c in containers(workload) for m in c.get("volumeMounts", [])}


def test_every_address_is_a_port_of_a_service(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    ports = {(name(s), p["port"]) for s in of_kind(objects, "Service") for p in s["spec"]["ports"]}
    for workload in workloads(objects):
        for value in variables(workload, objects).values():
            for host, port in re.findall(r"(?:^|//|,)(?:[^@/,]*@)?([a-z][\w.-]*):(\d{4,5})(?=$|[/,])", value):
                # Of another namespace: somebody else's.
                if host.endswith(".svc") or "." not in host:
                    inner, _, namespace = host.removesuffix(".svc").partition(".")
                    assert namespace not in {"", "ferry"} or (inner, int(port)) in ports, (name(workload), value)
    for key, routes in walk(list(objects)):
        if key == "backendRefs":
            for route in routes:
                assert (route["name"], route["port"]) in ports
    for item in of_kind(objects, "StatefulSet"):
        assert item["spec"]["serviceName"] in {name(s) for s in of_kind(objects, "Service")}


def test_every_mounted_file_that_is_named_exists(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    maps = {name(item): set(item["data"]) for item in of_kind(objects, "ConfigMap")}
    for workload in workloads(objects):
        volumes = {
            v["name"]: maps[v["configMap"]["name"]] for v in pod(workload).get("volumes", []) if "configMap" in v
        }
        for container in containers(workload):
            texts = [*container.get("args", []), *variables(workload, objects).values()]
            for mount in container.get("volumeMounts", []):
                for file in re.findall(rf"{re.escape(mount['mountPath'])}/([\w.-]+)", "\n".join(texts)):
                    assert mount["name"] not in volumes or file in volumes[mount["name"]], (name(workload), file)


def test_no_configuration_is_left_over(overlay: str, components: tuple[str, ...]) -> None:
    objects = render(overlay, components)
    references = {
        value.get("name")
        for workload in workloads(objects)
        for key, value in walk(pod(workload))
        if key in {"configMapRef", "configMapKeyRef", "configMap"}
    }
    for item in of_kind(objects, "ConfigMap"):
        # Grafana finds its dashboards by their label.
        assert name(item) in references or "grafana_dashboard" in item["metadata"]["labels"], name(item)


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
    fewest = _fewest(objects)
    covered = []
    for budget in of_kind(objects, "PodDisruptionBudget"):
        matched = [name(w) for w in workloads(objects) if selects(budget["spec"]["selector"], labels(w))]
        assert matched, name(budget)
        covered += matched
        expected = sum(fewest[workload] for workload in matched)
        assert _evictable(budget["spec"], expected) >= 1, name(budget)
        # A pod that does not get ready must not keep its node from being drained.
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    # The eviction of a pod with two budgets is refused.
    assert len(covered) == len(set(covered))
    assert set(covered) >= {name(w) for w in workloads(objects)} - {"otel-collector", "judge"}


def _fewest(objects: tuple[Json, ...]) -> dict[str, int]:
    """The fewest pods that a workload may have, by its name."""
    found = {name(w): int(w["spec"].get("replicas", 1)) for w in workloads(objects)}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        spec = scaler["spec"]
        found[spec["scaleTargetRef"]["name"]] = spec.get("minReplicas", spec.get("minReplicaCount", 0))
    return found


def _evictable(spec: Json, expected: int) -> int:
    """How many of `expected` healthy pods a budget lets go; the disruption controller rounds shares up."""
    (kind,) = {"maxUnavailable", "minAvailable"} & spec.keys()
    text = str(spec[kind])
    share = text.endswith("%")
    number = -(-int(text.removesuffix("%")) * expected // 100) if share else int(text)
    return min(number, expected) if kind == "maxUnavailable" else expected - number


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
        # Grafana's sidecar and the gateways follow theirs while they run.
        if not name(item).startswith("dashboard-") and name(item) != "routing":
            assert re.search(r"-[a-z0-9]{10}$", name(item)), name(item)
