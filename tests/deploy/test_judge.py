"""The component judge: rights to one ConfigMap and to nothing else, and settings that its command takes."""

from __future__ import annotations

import inspect
import re

from cli.rollout.judge.command import judge
from cli.rollout.weights import CONFIG_MAP
from tests.deploy.manifests import containers, name, of_kind, pod, render, workloads

OBJECTS = render("cpu", ("canary", "judge"))


def test_it_may_change_one_config_map_and_nothing_else() -> None:
    (binding,) = of_kind(OBJECTS, "RoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "judge", "namespace": "ferry"}]
    (role,) = of_kind(OBJECTS, "Role")
    assert binding["roleRef"]["name"] == name(role)
    (rule,) = role["rules"]
    assert rule == {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [CONFIG_MAP],
        "verbs": ["get", "patch"],
    }
    assert not of_kind(OBJECTS, "ClusterRole", "ClusterRoleBinding")
    assert CONFIG_MAP in {name(item) for item in of_kind(OBJECTS, "ConfigMap")}


def test_nobody_else_gets_its_token() -> None:
    for workload in workloads(OBJECTS):
        mounted = any("projected" in volume for volume in pod(workload).get("volumes", []))
        assert mounted == (name(workload) == "judge")
        assert (pod(workload)["serviceAccountName"] == "judge") == (name(workload) == "judge")


def test_its_variables_are_those_of_the_command() -> None:
    (workload,) = (one for one in workloads(OBJECTS) if name(one) == "judge")
    (container,) = containers(workload)
    known = set(re.findall(r'"(FERRY_\w+)"', inspect.getsource(judge)))
    assert {item["name"] for item in container["env"]} <= known
