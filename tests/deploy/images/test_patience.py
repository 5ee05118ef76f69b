"""The overlay `local` with the time that the check gives it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from deploy.images.patience import SECONDS, patient
from gateway.settings import GatewaySettings
from services.ensembler.recipe import Recipe
from tests.deploy.manifests import containers, name, render, workloads

Json = dict[str, Any]
BEFORE = render("local")
AFTER = patient(BEFORE)


def recipe(objects: Sequence[Json]) -> Json:
    (text,) = (item["data"]["recipe.toml"] for item in objects if "recipe.toml" in item.get("data", {}))
    found: Json = tomllib.loads(text)
    Recipe.model_validate(found)
    return found


def test_recipes_wait_as_long_as_the_check_does_and_stay_the_same_otherwise() -> None:
    before, after = recipe(BEFORE), recipe(AFTER)
    for entry in (after["detector"], *after["classifiers"]):
        assert entry.pop("timeout") == SECONDS
    assert after == before


def test_what_was_said_of_time_before_no_longer_counts() -> None:
    assert recipe(patient(AFTER)) == recipe(AFTER)


def test_the_gateway_waits_for_redis() -> None:
    (gateway,) = (c for item in workloads(tuple(AFTER)) if name(item) == "gateway" for c in containers(item))
    given = {entry["name"]: entry["value"] for entry in gateway["env"]}
    assert float(given["FERRY_REDIS_TIMEOUT"]) > GatewaySettings.model_fields["redis_timeout"].default
