"""The fingerprint changes with whatever decides an answer, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ferry.v1 import types_pb2
from services.ensembler.fingerprint import fingerprint
from services.ensembler.recipe import Recipe

RECIPE: dict[str, Any] = {
    "detector": {"name": "detector", "address": "localhost:1"},
    "classifiers": [{"name": "a", "address": "localhost:2"}, {"name": "b", "address": "localhost:3"}],
}


def version(name: str, digest: str = "a", number: str = "1") -> types_pb2.ModelVersion:
    return types_pb2.ModelVersion(name=name, version=number, digest=digest * 64)


MODELS = [version("a"), version("b"), version("detector")]


def of(models: Any = MODELS, **changes: Any) -> str:
    return fingerprint(Recipe.model_validate(RECIPE | changes), models)


def test_it_is_the_same_every_time() -> None:
    assert of() == of()
    assert len(of()) == 64
    assert set(of()) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"detector_weight": 0.3},
        {"classifiers": [{**RECIPE["classifiers"][0], "weight": 0.5}, RECIPE["classifiers"][1]]},
        {"vote": "hard"},
        {"crop_size": 65},
        {"crop_margin": 0.07},
        {"test_time_augmentation": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_answers_changes_it(changes: dict[str, Any]) -> None:
    assert of(**changes) != of()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_so_does_the_digest_of_every_model(place: int) -> None:
    models = [*MODELS]
    models[place] = version(MODELS[place].name, digest="b")
    assert of(models) != of()


def test_two_models_that_change_places_change_it() -> None:
    assert of([version("a", "1"), version("b", "2"), MODELS[2]]) != of(
        [version("a", "2"), version("b", "1"), MODELS[2]]
    )


def test_addresses_timeouts_and_the_number_of_a_version_do_not() -> None:
    moved = {"name": "detector", "address": "elsewhere:9", "timeout": 3}
    assert of(detector=moved) == of()
    assert of([*MODELS[:2], version("detector", number="2")]) == of()


@pytest.mark.parametrize("unknown", [None, version("a", digest="")])
def test_it_is_empty_while_a_model_is_unknown(unknown: Any) -> None:
    assert of([unknown, *MODELS[1:]]) == ""
