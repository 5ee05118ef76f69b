"""Every object fits the API of every Kubernetes version from 1.32 to 1.37; a warning is a failure."""

from __future__ import annotations

import json

import kubernetes_validate
import pytest

from tests.deploy.manifests import COMBINATIONS, SINCE, Json, name, render

VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
FOREIGN = {"monitoring.coreos.com", "keda.sh", "gateway.networking.k8s.io", "argoproj.io", "cert-manager.io"}
"""API groups that Kubernetes itself does not have; tests.deploy.test_foreign checks their objects."""


def _objects(version: str) -> list[Json]:
    number = tuple(map(int, version.split(".")))
    distinct = {
        json.dumps(item, sort_keys=True): item
        for overlay, components in (combination.values for combination in COMBINATIONS)
        if all(SINCE.get(component, number) <= number for component in components)  # type: ignore[union-attr]
        for item in render(overlay, components)  # type: ignore[arg-type]
    }
    plain = [_as_deployment(item) if item["kind"] == "Rollout" else item for item in distinct.values()]
    return [item for item in plain if item["apiVersion"].partition("/")[0] not in FOREIGN]


def _as_deployment(rollout: Json) -> Json:
    """What a Rollout is, but for its strategy."""
    spec = {**rollout["spec"], "strategy": {"type": "RollingUpdate"}}
    return {**rollout, "apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schema(version: str) -> None:
    objects = _objects(version)
    assert len(objects) > 40
    for item in objects:
        # Raises for a kind or a version of it that is not known, which the command line tool only warns of.
        kubernetes_validate.validate(item, version, strict=True)
        assert name(item)
