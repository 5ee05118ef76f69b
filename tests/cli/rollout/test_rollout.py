"""`ferry rollout` against the manifests of the repository and a kubectl that keeps them in a file."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.models.fit_vote import with_weights
from cli.rollout import app
from cli.rollout.judge.place import ANNOTATION
from cli.rollout.judge.state import Phase, State
from cli.rollout.weights import render as render_table
from gateway.routing.table import RoutingTable, VariantEntry
from services.ensembler.recipe import DEFAULT_RECIPE, Recipe, read_recipe
from serving.config_file import parse_config
from tests.cli.rollout.fake_kubectl import REVISION
from tests.deploy.manifests import Json, render

FAKE = Path(__file__).with_name("fake_kubectl.py")


class FakeCluster:
    """What the fake kubectl has in its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        objects = copy.deepcopy(list(render("cpu", ("canary",))))
        history = {}
        for item in objects:
            item["metadata"]["resourceVersion"] = "1"
            if item["kind"] == "Deployment":
                item["metadata"] |= {"generation": 1, "annotations": {REVISION: "1"}}
                item["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
                notes = dict(item["metadata"]["annotations"])
                history[item["metadata"]["name"]] = [{"template": item["spec"]["template"], "notes": notes}]
        self.save({"objects": objects, "history": history, "log": [], "patches": {}, "broken": []})

    @property
    def state(self) -> Any:
        return json.loads(self.path.read_text())

    def save(self, state: Any) -> None:
        self.path.write_text(json.dumps(state))

    def find(self, kind: str, name: str) -> Json:
        (item,) = (i for i in self.state["objects"] if i["kind"] == kind and i["metadata"]["name"] == name)
        return dict(item)

    def change(self, kind: str, name: str, change: Any) -> None:
        state = self.state
        (item,) = (i for i in state["objects"] if i["kind"] == kind and i["metadata"]["name"] == name)
        change(item)
        if kind == "Deployment":
            state["history"][name][-1]["template"] = item["spec"]["template"]
        self.save(state)

    @property
    def shares(self) -> dict[str, float]:
        text = self.find("ConfigMap", "routing")["data"]["routing.toml"]
        return parse_config(Path("routing.toml"), text.encode(), RoutingTable).shares

    def template(self, name: str) -> Json:
        template: Json = self.find("Deployment", name)["spec"]["template"]
        return template

    @property
    def recipe(self) -> Recipe:
        """Stable's."""
        volumes = self.template("ensembler")["spec"]["volumes"]
        (name,) = (v["configMap"]["name"] for v in volumes if v["name"] == "recipe")
        text = self.find("ConfigMap", name)["data"]["recipe.toml"]
        return parse_config(Path("recipe.toml"), text.encode(), Recipe)

    def log(self, *verbs: str) -> list[str]:
        """Changes made: verb and target."""
        return [" ".join(line[:3]) for line in self.state["log"] if not verbs or line[0] in verbs]

    def new_canary(self) -> None:
        """A new arcface in a new image, with more weight in the vote."""

        def deployment(item: Json) -> None:
            template = item["spec"]["template"]
            template["metadata"]["labels"]["ferry/model-version"] = "2"
            (container,) = template["spec"]["containers"]
            container["image"] = "localhost/ferry/classifier:0.2.0"
            (models,) = (v for v in container["env"] if v["name"] == "FERRY_MODELS")
            models["value"] = "arcface:2"

        def recipe(item: Json) -> None:
            item["data"]["recipe.toml"] = with_weights(item["data"]["recipe.toml"], {"arcface": 0.7})

        self.change("Deployment", "classifier-arcface-canary", deployment)
        (name,) = (
            i["metadata"]["name"]
            for i in self.state["objects"]
            if i["kind"] == "ConfigMap" and i["metadata"]["name"].startswith("recipe-canary-")
        )
        self.change("ConfigMap", name, recipe)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    made = FakeCluster(tmp_path / "cluster.json")
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} -S {FAKE} "$@"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CLUSTER", str(made.path))
    monkeypatch.delenv("FERRY_NAMESPACE", raising=False)
    return made


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output + (result.stderr if result.stderr not in result.output else "")


def merged_by_kubectl(deployment: Json, patch: Json, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """What the real kubectl makes of a Deployment's pods with a patch on its standard input."""
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(":")[2])
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    (folder / "deployment.json").write_text(json.dumps(deployment))
    command = ["kubectl", "patch", "--local", "-f", str(folder / "deployment.json"), "-o", "json"]
    command += ["--type", "strategic", "--patch-file", "/dev/stdin"]
    done = subprocess.run(command, input=json.dumps(patch), capture_output=True, text=True, check=True)
    spec: dict[str, Any] = json.loads(done.stdout)["spec"]["template"]["spec"]
    return spec


def test_a_share_for_the_canary(cluster: FakeCluster) -> None:
    said = run("canary", "--weight", "0.1")
    assert cluster.shares == pytest.approx({"stable": 0.9, "canary": 0.1})
    assert "stable: 100.0% -> 90.0%; canary: 0.0% -> 10.0%" in said
    assert cluster.log() == ["patch configmap routing"]
    run("canary", "--weight", "1")
    assert cluster.shares == {"stable": 0, "canary": 1}
    assert "already" in run("canary", "--weight", "1")


def test_a_third_variant_keeps_its_callers(cluster: FakeCluster) -> None:
    def with_third(item: Json) -> None:
        item["data"]["routing.toml"] += '\n[[variants]]\nname = "trial"\naddress = "trial:50052"\nweight = 0.25\n'

    cluster.change("ConfigMap", "routing", with_third)
    run("canary", "--weight", "0.4")
    assert cluster.shares == pytest.approx({"stable": 0.4, "canary": 0.4, "trial": 0.2})
    said = run("canary", "--weight", "1", code=1)
    assert "canary cannot have 100.0% of the callers: stable and it have 80.0% together" in said
    run("promote")
    assert cluster.shares == pytest.approx({"stable": 0.8, "canary": 0, "trial": 0.2})


def test_a_dry_run_says_it_all_and_changes_nothing(cluster: FakeCluster) -> None:
    cluster.new_canary()
    before = cluster.state
    for arguments in (("canary", "--weight", "0.5"), ("promote",), ("rollback",)):
        said = run(*arguments, "--dry-run")
    assert cluster.state == before
    said = run("promote", "--dry-run")
    assert "classifier:0.1.0, arcface 1 becomes localhost/ferry/classifier:0.2.0, arcface 2" in said
    assert "$ kubectl --namespace ferry patch deployment classifier-arcface" in said


def test_a_canary_that_is_not_ready_is_said(cluster: FakeCluster) -> None:
    cluster.change("Deployment", "detector-canary", lambda item: item["status"].update(availableReplicas=0))
    assert "warning: detector-canary has no pod that is available" in run("canary", "--weight", "0.1")
    said = run("promote", code=1)
    assert "detector-canary has no pod that is available; promote what has answered" in said
    assert cluster.log() == ["patch configmap routing"]


def test_promotion_makes_stable_what_the_canary_is(cluster: FakeCluster) -> None:
    cluster.new_canary()
    run("canary", "--weight", "0.5")
    run("promote")
    assert cluster.shares == {"stable": 1, "canary": 0}
    template = cluster.template("classifier-arcface")
    (container,) = template["spec"]["containers"]
    assert container["image"] == "localhost/ferry/classifier:0.2.0"
    assert {"name": "FERRY_MODELS", "value": "arcface:2"} in container["env"]
    assert template["metadata"]["labels"]["ferry/model-version"] == "2"
    # Still stable's own: selectors, names and the way the models are reached.
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "classifier-arcface"
    assert "ferry/track" not in template["metadata"]["labels"]
    assert [entry.weight for entry in cluster.recipe.classifiers] == [read_recipe(DEFAULT_RECIPE).weights[0], 0.7]
    assert {entry.address for entry in (cluster.recipe.detector, *cluster.recipe.classifiers)} == {
        "detector:50053",
        "classifier-efficientnet:50054",
        "classifier-arcface:50054",
    }
    # Models before the recipe that counts on them; what is the same already is left alone; the callers last.
    assert cluster.log("patch", "rollout")[1:] == [
        "patch deployment classifier-arcface",
        "rollout status deployment/classifier-arcface",
        "patch deployment ensembler",
        "rollout status deployment/ensembler",
        "patch configmap routing",
    ]


def test_a_variable_that_the_canary_ran_without_is_taken_from_stable(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And nothing else: what kubectl itself makes of the patch is what the canary's container has."""

    def without(item: Json) -> None:
        (container,) = item["spec"]["template"]["spec"]["containers"]
        container["env"] = container["env"][1:]

    cluster.change("Deployment", "detector-canary", without)
    stable = cluster.find("Deployment", "detector")
    run("promote")
    patch = cluster.state["patches"]["detector"]
    (wanted,), (found,) = (cluster.template(name)["spec"]["containers"] for name in ("detector-canary", "detector"))
    assert found["env"] == wanted["env"]
    assert "detector: has it already" in run("promote")
    run("rollback")
    assert cluster.template("detector") == stable["spec"]["template"]
    assert merged_by_kubectl(stable, patch, monkeypatch, tmp_path)["containers"] == [found]


def test_kubectl_itself_merges_the_patch_as_meant(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster.new_canary()
    stable = cluster.find("Deployment", "ensembler")
    run("promote")
    spec = merged_by_kubectl(stable, cluster.state["patches"]["ensembler"], monkeypatch, tmp_path)
    before = stable["spec"]["template"]["spec"]
    (recipe,) = (v["configMap"] for v in spec["volumes"] if v["name"] == "recipe")
    assert recipe["name"].startswith("recipe-promoted-")
    assert [v for v in spec["volumes"] if v["name"] != "recipe"] == [
        v for v in before["volumes"] if v["name"] != "recipe"
    ]
    assert spec["containers"] == before["containers"]


def test_promoting_twice_changes_nothing_more(cluster: FakeCluster) -> None:
    cluster.new_canary()
    run("promote")
    before = cluster.state
    assert "has it already" in run("promote")
    assert cluster.state == before


def test_rollback_of_a_canary_takes_its_callers_and_leaves_stable_alone(cluster: FakeCluster) -> None:
    run("canary", "--weight", "0.5")
    run("rollback")
    assert cluster.shares == {"stable": 1, "canary": 0}
    assert cluster.log("rollout") == []


def test_rollback_of_a_promotion_brings_back_models_and_recipe_together(cluster: FakeCluster) -> None:
    names = ("classifier-arcface", "classifier-efficientnet", "detector", "ensembler")
    before, recipe = {name: cluster.template(name) for name in names}, cluster.recipe
    cluster.new_canary()
    run("canary", "--weight", "0.5")
    run("promote")
    run("rollback")
    assert {name: cluster.template(name) for name in names} == before
    assert cluster.recipe == recipe
    assert cluster.shares == {"stable": 1, "canary": 0}
    undone = cluster.log("rollout")
    assert undone[-4:-2] == ["rollout undo deployment/ensembler", "rollout undo deployment/classifier-arcface"]
    run("rollback")  # there is nothing more to undo
    assert cluster.log("rollout") == undone


def test_rollback_does_not_undo_what_came_after_the_promotion(cluster: FakeCluster) -> None:
    cluster.new_canary()
    run("promote")

    def applied(item: Json) -> None:
        item["metadata"]["annotations"][REVISION] = "3"

    for name in ("classifier-arcface", "ensembler"):
        cluster.change("Deployment", name, applied)
    run("rollback")
    assert not [line for line in cluster.log("rollout") if "undo" in line]


def test_a_promotion_that_hangs_says_how_to_go_back_and_can(cluster: FakeCluster) -> None:
    cluster.new_canary()
    before = cluster.template("classifier-arcface")
    state = cluster.state
    cluster.save({**state, "broken": ["classifier-arcface"]})
    said = run("promote", code=1)
    assert "exceeded its progress deadline" in said
    assert "ferry rollout rollback" in said
    assert cluster.shares["stable"] == 1
    cluster.save({**cluster.state, "broken": []})
    run("rollback")
    assert cluster.template("classifier-arcface") == before


def test_a_table_changed_by_somebody_else_meanwhile_is_not_overwritten(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli.rollout import commands

    read = commands.read_table

    def read_and_lose(kubectl: Any) -> Any:
        answer = read(kubectl)
        if changes:
            cluster.change("ConfigMap", "routing", changes.pop())
        return answer

    monkeypatch.setattr(commands, "read_table", read_and_lose)

    def by_a_person(item: Json) -> None:
        item["metadata"]["resourceVersion"] = "7"
        item["data"]["routing.toml"] = item["data"]["routing.toml"].replace("weight = 0.0", "weight = 0.5", 1)

    changes: list[Any] = [by_a_person]
    assert "somebody else has changed the weights" in run("canary", "--weight", "0.2", code=1)
    assert cluster.shares["canary"] == pytest.approx(1 / 3)

    def by_a_judge(item: Json) -> None:
        by_a_person(item)
        state = State(Phase.STEPPING, "c" * 16, 1 / 3)
        item["metadata"] |= {"resourceVersion": "9", "annotations": {ANNOTATION: state.dump()}}

    changes.append(by_a_judge)
    run("rollback")
    assert cluster.shares["canary"] == 0, "a person wins over a judge"
    assert "judge: stepping" in run("status")


@pytest.mark.parametrize(
    ("kind", "said"), [("Deployment", "add the component canary"), ("ConfigMap", 'configmaps "routing" not found')]
)
def test_without_the_component_it_says_what_to_do(cluster: FakeCluster, kind: str, said: str) -> None:
    state = cluster.state
    state["objects"] = [i for i in state["objects"] if i["kind"] != kind or "-canary" not in i["metadata"]["name"]]
    if kind == "ConfigMap":
        state["objects"] = [i for i in state["objects"] if i["metadata"]["name"] != "routing"]
    cluster.save(state)
    assert said in run("canary", "--weight", "0.2", code=1)


def test_a_namespace_without_ferry_is_an_error(cluster: FakeCluster) -> None:
    cluster.save({**cluster.state, "objects": []})
    assert "nothing of Ferry's runs in namespace ferry" in run("status", code=1)


def test_without_kubectl_it_says_so(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "kubectl is not on the PATH" in run("status", code=1)


@pytest.mark.parametrize("weight", ["-0.1", "1.1", "nan", "much"])
def test_a_weight_that_is_no_share_is_wrong_usage(cluster: FakeCluster, weight: str) -> None:
    run("canary", "--weight", weight, code=2)
    assert cluster.log() == []


def test_status_shows_shares_and_versions(cluster: FakeCluster) -> None:
    cluster.new_canary()
    run("canary", "--weight", "0.25")
    said = run("status")
    assert "canary: 25.0% of the callers" in said
    assert "arcface 1" in said
    assert "arcface 2" in said


def test_status_says_why_a_rollout_stands_still(cluster: FakeCluster) -> None:
    cluster.change("Deployment", "detector", lambda item: item["status"].update(updatedReplicas=0))
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "there is no version 9 of model 'detector'"}}
    labels = cluster.template("detector")["metadata"]["labels"]
    status = {"containerStatuses": [{"name": "ferry", "state": {}, "lastState": ended}]}
    state = cluster.state
    cluster.save({**state, "pods": [{"metadata": {"name": "detector-x", "labels": labels}, "status": status}]})
    said = run("status")
    assert "detector is not rolled out" in said
    assert "pod detector-x: ferry ended with 1 (Error): there is no version 9 of model 'detector'" in said
    assert "back: kubectl --namespace ferry rollout undo deployment/detector" in said


def test_a_table_is_written_as_it_is_read() -> None:
    entries = (
        VariantEntry(name="stable", address="e:1", weight=1e-6),
        VariantEntry(name="canary", address="127.0.0.1:1,127.0.0.1:2", weight=0.3, shadow=0.5),
    )
    table = RoutingTable(salt='sp"ring\\ é\n\x7f', variants=entries)
    assert parse_config(Path("routing.toml"), render_table(table).encode(), RoutingTable) == table
