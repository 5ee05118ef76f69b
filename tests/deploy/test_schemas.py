"""Every object fits the API of every Kubernetes version from 1.32 to 1.37; a warning is a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate.utils
import pytest

from tests.deploy.composition import SINCE
from tests.deploy.manifests import COMBINATIONS, Json, name, render, workloads

VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
FOREIGN = {
    "monitoring.coreos.com/v1": {"PrometheusRule", "ServiceMonitor"},
    "keda.sh/v1alpha1": {"ScaledObject"},
    "cert-manager.io/v1": {"Certificate", "Issuer"},
    "argoproj.io/v1alpha1": {"AnalysisTemplate", "Rollout"},
    "gateway.networking.k8s.io/v1": {"GRPCRoute", "HTTPRoute", "Gateway"},
    "gateway.networking.k8s.io/v1beta1": {"ReferenceGrant"},
}
"""Kinds that Kubernetes itself does not have: tests.deploy.foreign has shapes. Any other kind is a mistake."""
ARGO = "1.29"
"""The Kubernetes whose pods Argo Rollouts 1.7 and 1.8 know: newer fields they drop (docs/progressive-delivery.md)."""


def _objects(version: str) -> list[Json]:
    number = tuple(map(int, version.split(".")))
    distinct = {
        json.dumps(item, sort_keys=True): item
        for overlay, components in (combination.values for combination in COMBINATIONS)
        if all(SINCE.get(component, number) <= number for component in components)
        for item in render(overlay, components)
    }
    return list(distinct.values())


def _checkable(item: Json) -> Json | None:
    """The object as Kubernetes' schemas can check it: of a foreign kind, what is a Deployment in all but name."""
    if item["apiVersion"].partition("/")[0] not in {version.partition("/")[0] for version in FOREIGN}:
        return item
    assert item["kind"] in FOREIGN.get(item["apiVersion"], ()), f"{item['apiVersion']} {item['kind']}"
    if not workloads((item,)):
        return None
    spec = {key: item["spec"][key] for key in ("replicas", "selector", "template") if key in item["spec"]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": item["metadata"], "spec": spec}


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """The package reads a version's definitions again for every object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schema(version: str) -> None:
    objects = [checkable for item in _objects(version) if (checkable := _checkable(item)) is not None]
    assert len(objects) > 40
    for item in objects:
        # Raises for a kind or a version of it that is not known, which the command line tool only warns of.
        kubernetes_validate.validate(item, version, strict=True)
        assert name(item)


def test_rollouts_have_only_fields_of_pods_that_argo_rollouts_knows() -> None:
    rollouts = [_checkable(item) for item in _objects(ARGO) if item["kind"] == "Rollout"]
    assert len(rollouts) > 10
    for rollout in rollouts:
        kubernetes_validate.validate(rollout, ARGO, strict=True)


SOUND: Json = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "x"},
    "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}},
}


@pytest.mark.parametrize(
    "change",
    [
        {"apiVersion": "policy/v1beta1"},
        {"kind": "PodDisruptionBugdet"},
        {"apiVersion": "policy.example/v1"},
        {"spec": {"maxUnavailble": 1}},
        {"spec": {"maxUnavailable": [1]}},
    ],
    ids=["removed version", "unknown kind", "unknown group", "unknown field", "wrong type"],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    kubernetes_validate.validate(SOUND, VERSIONS[-1], strict=True)
    with pytest.raises(Exception):  # noqa: B017, PT011  (an error of several kinds)
        kubernetes_validate.validate(SOUND | change, VERSIONS[-1], strict=True)
