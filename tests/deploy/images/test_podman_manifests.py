"""The overlay `local` as podman gets it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deploy.images.manifests import PREFIX, Pod, pods
from deploy.images.tool import ImagesError
from tests.deploy.manifests import labels, name, of_kind, pod, render, workloads
from tests.deploy.quantities import quantity

Json = dict[str, Any]
OBJECTS = render("local")
PODS = {item.name: item for item in pods(OBJECTS)}
ORIGINALS = {name(item): item for item in workloads(OBJECTS)}

each = pytest.mark.parametrize("which", sorted(ORIGINALS))


def documents(which: Pod) -> list[Json]:
    return list(yaml.safe_load_all(which.manifest))


def played(which: Pod) -> Json:
    (found,) = (item for item in documents(which) if item["kind"] == "Pod")
    return found


def test_every_workload_becomes_a_pod() -> None:
    assert PODS.keys() == ORIGINALS.keys()
    assert {item["kind"] for which in PODS.values() for item in documents(which)} == {"Pod", "ConfigMap"}


@each
def test_what_confines_it_is_kept(which: str) -> None:
    before, after = pod(ORIGINALS[which]), played(PODS[which])["spec"]
    assert after["securityContext"] == before["securityContext"]
    for key in ("image", "securityContext", "resources", "env", "args"):
        assert after["containers"][0].get(key) == before["containers"][0].get(key), key
    limits = before["containers"][0]["resources"]["limits"]
    assert (PODS[which].memory, PODS[which].cpus) == (quantity(limits["memory"]), quantity(limits["cpu"]))


@each
def test_nothing_is_left_that_podman_cannot_do(which: str) -> None:
    container = played(PODS[which])["spec"]["containers"][0]
    assert not {"startupProbe", "readinessProbe", "livenessProbe", "ports"} & container.keys()


@each
def test_it_is_asked_what_kubelet_would_ask(which: str) -> None:
    probe = pod(ORIGINALS[which])["containers"][0]["readinessProbe"]
    if "grpc" in probe:
        assert (PODS[which].port, PODS[which].health) == (probe["grpc"]["port"], probe["grpc"]["service"])
    else:
        assert (PODS[which].port, PODS[which].health) == (6379, None)


@each
def test_names_of_the_services_lead_to_it(which: str) -> None:
    wanted = {
        name(item)
        for item in of_kind(OBJECTS, "Service")
        if item["spec"]["selector"].items() <= labels(ORIGINALS[which]).items()
    }
    assert set(PODS[which].aliases) == wanted
    assert wanted


@each
def test_all_that_podman_makes_of_it_is_told_apart_from_other_people_s(which: str) -> None:
    assert all(item["metadata"]["name"].startswith(f"{PREFIX}{which}") for item in documents(PODS[which]))
    spec = played(PODS[which])["spec"]
    made = {volume.get("configMap", volume)["name"] for volume in spec.get("volumes", [])}
    assert all(item.startswith(f"{PREFIX}{which}-") for item in made)


@each
def test_its_references_resolve(which: str) -> None:
    spec, container = played(PODS[which])["spec"], played(PODS[which])["spec"]["containers"][0]
    maps = {item["metadata"]["name"]: item["data"] for item in documents(PODS[which]) if item["kind"] == "ConfigMap"}
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes.keys()
    wanted = {source["configMapRef"]["name"] for source in container.get("envFrom", [])}
    wanted |= {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume}
    assert wanted == maps.keys()
    originals = [item["data"] for item in of_kind(OBJECTS, "ConfigMap")]
    assert all(data in originals for data in maps.values())


def test_the_overlay_itself_is_not_changed() -> None:
    assert "readinessProbe" in pod(ORIGINALS["gateway"])["containers"][0]


def test_a_config_map_that_is_not_there_is_named() -> None:
    with pytest.raises(ImagesError, match="there is no ConfigMap settings-"):
        pods([item for item in OBJECTS if item["kind"] != "ConfigMap"])
