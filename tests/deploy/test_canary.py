"""The canary's track: complete, apart from stable's, reachable by the gateway alone, and back with one undo."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.routing.table import RoutingTable
from services.ensembler.recipe import Recipe, read_recipe
from serving.config_file import read_config
from tests.deploy.manifests import (
    Json,
    containers,
    ferry,
    labels,
    name,
    of_kind,
    pod,
    render,
    selects,
    service,
    variables,
    workloads,
)
from tests.deploy.test_network import ADDED, DNS, edges

TRACK = ("ensembler", "detector", "classifier-efficientnet", "classifier-arcface")
OVERLAYS = pytest.mark.parametrize("overlay", ["cpu", "gpu", "local"])


def config(objects: tuple[Json, ...], prefix: str, folder: Path) -> Path:
    """The one file of the ConfigMap whose name begins with `prefix`, written out."""
    (data,) = (item["data"] for item in of_kind(objects, "ConfigMap") if name(item).startswith(prefix))
    ((file, text),) = data.items()
    (folder / file).write_text(text)
    return folder / file


def recipes(objects: tuple[Json, ...], folder: Path) -> tuple[Recipe, Recipe]:
    """Of stable, of the canary."""
    canary = read_recipe(config(objects, "recipe-canary-", folder))
    others = tuple(item for item in objects if not name(item).startswith("recipe-canary-"))
    return read_recipe(config(others, "recipe-", folder)), canary


def addresses(objects: tuple[Json, ...]) -> set[str]:
    return {f"{name(s)}:{port['port']}" for s in of_kind(objects, "Service") for port in s["spec"]["ports"]}


@OVERLAYS
def test_the_track_is_complete_and_marked(overlay: str) -> None:
    track = [w for w in ferry(render(overlay, ("canary",))) if labels(w).get("ferry/track") == "canary"]
    assert {name(w) for w in track} == {f"{one}-canary" for one in TRACK}
    assert all(labels(w)["app.kubernetes.io/component"] == name(w) for w in track)


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_it_differs_from_stable_in_names_recipe_and_scale_only(overlay: str) -> None:
    objects = render(overlay, ("canary",))
    twins = {name(w): w for w in ferry(objects)}
    for one in TRACK:
        stable, canary = pod(twins[one]), pod(twins[f"{one}-canary"])
        without = [
            {**spec, "volumes": [v for v in spec["volumes"] if v["name"] != "recipe"]} for spec in (stable, canary)
        ]
        assert without[0] == without[1]
    scalers = {name(s): s["spec"] for s in of_kind(objects, "HorizontalPodAutoscaler")}
    assert {scalers[f"{one}-canary"]["minReplicas"] for one in TRACK} == {1}


@OVERLAYS
def test_the_table_names_ensemblers_that_are_there_and_begins_with_stable_alone(overlay: str, tmp_path: Path) -> None:
    objects = render(overlay, ("canary",))
    table = read_config(config(objects, "routing", tmp_path), RoutingTable)
    assert {entry.name: entry.address for entry in table.variants} == {
        "stable": "ensembler:50052",
        "canary": "ensembler-canary:50052",
    }
    assert {entry.address for entry in table.variants} <= addresses(objects)
    assert table.shares["stable"] == 1


def test_the_gateway_follows_the_table_without_a_restart() -> None:
    objects = render("cpu", ("canary",))
    (gateway,) = (w for w in ferry(objects) if name(w) == "gateway")
    # A hash in the name would make each change of a weight a rollout; a subPath is never updated.
    (volume,) = (v for v in pod(gateway)["volumes"] if v["name"] == "routing")
    assert volume["configMap"]["name"] == "routing"
    (mount,) = (m for m in containers(gateway)[0]["volumeMounts"] if m["name"] == "routing")
    assert "subPath" not in mount
    assert variables(gateway, objects)["FERRY_ROUTING_FILE"] == f"{mount['mountPath']}/routing.toml"


@OVERLAYS
def test_each_recipe_stays_on_its_track(overlay: str, tmp_path: Path) -> None:
    objects = render(overlay, ("canary",))
    for recipe, suffix in zip(recipes(objects, tmp_path), ("", "-canary"), strict=True):
        hosts = {entry.address.partition(":")[0] for entry in (recipe.detector, *recipe.classifiers)}
        assert hosts == {f"{one}{suffix}" for one in TRACK if one != "ensembler"}
        assert {entry.address for entry in (recipe.detector, *recipe.classifiers)} <= addresses(objects)


def test_the_canary_begins_with_stable_s_recipe(tmp_path: Path) -> None:
    stable, canary = (recipe.model_dump() for recipe in recipes(render("cpu", ("canary",)), tmp_path))
    for recipe in (stable, canary):
        for entry in (recipe["detector"], *recipe["classifiers"]):
            del entry["address"]
    assert canary == stable


def test_stable_s_services_do_not_find_the_canary_s_pods() -> None:
    objects = render("cpu", ("canary",))
    for item in of_kind(objects, "Service"):
        found = {name(w) for w in workloads(objects) if selects({"matchLabels": item["spec"]["selector"]}, labels(w))}
        assert found == {name(item)}


def test_only_the_ways_of_the_second_track_are_added() -> None:
    added = {
        *ADDED["canary"],
        *(("monitoring", f"{one}-canary", 9090) for one in TRACK),
        *((f"{one}-canary", *server) for one in TRACK for server in DNS),
    }
    assert edges("cpu", ("canary",)) == edges("cpu") | added


def test_components_after_it_reach_its_pods() -> None:
    objects = render("cpu", ("canary", "otel", "models-volume"))
    for workload in ferry(objects):
        assert "FERRY_OTLP_ENDPOINT" in variables(workload, objects)
        if service(workload) not in {"gateway", "ensembler"}:
            assert any("image" in volume for volume in pod(workload)["volumes"])


@pytest.mark.parametrize("components", [("canary",), ("canary", "keda")])
def test_each_service_of_the_track_is_scaled(components: tuple[str, ...]) -> None:
    scalers = of_kind(render("cpu", components), "HorizontalPodAutoscaler", "ScaledObject")
    targets = sorted(scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers)
    assert targets == sorted(["gateway", *TRACK, *(f"{one}-canary" for one in TRACK)])


@OVERLAYS
def test_an_undo_brings_back_models_and_configuration_together(overlay: str) -> None:
    """All that decides an answer is named by the pod template: the version of the model, and recipe and settings by
    the hash of their content. (The weights are not: they are the gateways' and change without a rollout.)
    """
    objects = render(overlay, ("canary",))
    hashed = {name(item) for item in of_kind(objects, "ConfigMap") if name(item) != "routing"}
    for workload in ferry(objects):
        spec = pod(workload)
        used = {source["configMapRef"]["name"] for source in spec["containers"][0]["envFrom"]}
        used |= {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
        assert used - {"routing"} <= hashed
        found = variables(workload, objects)
        pinned = found.get("FERRY_MODELS") or found.get("FERRY_MODEL")
        if service(workload) not in {"gateway", "ensembler"}:
            assert pinned == f"{labels(workload)['ferry/model']}:{labels(workload)['ferry/model-version']}"
            assert labels(workload)["ferry/model-version"].isdigit()
        assert workload["spec"]["revisionHistoryLimit"] >= 2


def test_stable_s_configuration_is_the_same_with_and_without_it() -> None:
    """Or adding a canary would roll every pod of stable; the gateway's, which now has a table to follow, must roll."""
    alone, beside = ({name(w): w["spec"]["template"] for w in ferry(render("cpu", c))} for c in ((), ("canary",)))
    assert {one for one, template in alone.items() if beside[one] != template} == {"gateway"}
