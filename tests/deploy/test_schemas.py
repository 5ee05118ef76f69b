"""Every object fits the API of every Kubernetes version from 1.32 to 1.37; a warning is a failure."""

from __future__ import annotations

import json

import kubernetes_validate
import pytest

from tests.deploy.manifests import COMBINATIONS, Json, name, render

VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
FOREIGN = {"monitoring.coreos.com", "keda.sh"}
"""API groups that Kubernetes itself does not have."""


def _objects() -> list[Json]:
    distinct = {
        json.dumps(item, sort_keys=True): item
        for combination in COMBINATIONS
        for item in render(*combination.values)  # type: ignore[arg-type]
    }
    return [item for item in distinct.values() if item["apiVersion"].partition("/")[0] not in FOREIGN]


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schema(version: str) -> None:
    objects = _objects()
    assert len(objects) > 40
    for item in objects:
        # Raises for a kind or a version of it that is not known, which the command line tool only warns of.
        kubernetes_validate.validate(item, version, strict=True)
        assert name(item)
