"""A recipe may ask a classifier only about faces that those before it leave unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from ferry.v1 import types_pb2
from services.ensembler.fingerprint import fingerprint
from services.ensembler.recipe import Recipe
from serving.errors import UnavailableError
from serving.tensors import from_tensor
from tests.services.ensembler.conftest import Start
from tests.services.ensembler.fakes import HAPPY, SAD, Models, cut

UNSURE = (0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1)


def cascade(models: Models, ask_below: float | None = 0.7) -> dict[str, Any]:
    recipe = models.recipe.model_dump()
    recipe["detector_weight"] = 0.0
    recipe["classifiers"][1]["ask_below"] = ask_below
    return recipe


def names(face: types_pb2.Face) -> list[str]:
    return [prediction.model.name for prediction in face.predictions if prediction.weight > 0]


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("ferry_cascade_faces_total", {"model": "second", "result": result}) or 0.0


async def test_only_unsure_faces_go_further_and_each_says_who_judged_it(models: Models, start: Start) -> None:
    caller = await start(cascade(models))
    models.detector.faces, models.detector.scores = 3, [0.9, 0.8, 0.7]
    models.first.rows, models.second.row = [HAPPY, UNSURE, SAD], SAD
    before = counted("asked"), counted("spared")
    answer = await caller.recognize()
    (request,) = models.second.requests
    np.testing.assert_array_equal(from_tensor(request.crops, "crops"), cut(3, 64)[1:2])
    assert [names(face) for face in answer.faces] == [["first"], ["first", "second"], ["first"]]
    assert [p.probability for p in answer.faces[0].probabilities] == pytest.approx(HAPPY, abs=1e-6)
    expected = (np.array(UNSURE) + np.array(SAD)) / 2
    assert [p.probability for p in answer.faces[1].probabilities] == pytest.approx(expected, abs=1e-6)
    assert not answer.degraded
    assert not any(face.degraded or face.missing_models for face in answer.faces)
    assert (counted("asked") - before[0], counted("spared") - before[1]) == (1, 2)


async def test_who_is_not_asked_is_not_missed(models: Models, start: Start) -> None:
    caller = await start(cascade(models))
    models.second.error = UnavailableError("gone")
    answer = await caller.recognize()
    assert models.second.requests == []
    assert not answer.degraded
    assert [model.name for model in answer.models] == ["detector", "first"]


async def test_who_is_asked_and_absent_degrades_only_those_faces(models: Models, start: Start) -> None:
    caller = await start(cascade(models))
    models.detector.faces, models.detector.scores = 2, [0.9, 0.8]
    models.first.rows, models.second.answer = [HAPPY, UNSURE], types_pb2.Tensor()
    answer = await caller.recognize()
    assert answer.degraded
    assert [list(face.missing_models) for face in answer.faces] == [[], ["second"]]
    assert [face.degraded for face in answer.faces] == [False, True]


async def test_the_next_takes_the_place_of_one_that_is_absent(models: Models, start: Start) -> None:
    caller = await start(cascade(models))
    models.detector.faces, models.detector.scores = 2, [0.9, 0.8]
    models.first.answer, models.second.row = types_pb2.Tensor(), SAD
    answer = await caller.recognize()
    assert [names(face) for face in answer.faces] == [["second"], ["second"]]
    assert all(list(face.missing_models) == ["first"] for face in answer.faces)


async def test_a_threshold_of_one_asks_about_all_as_a_recipe_without_does(models: Models, start: Start) -> None:
    models.first.row, models.second.row = UNSURE, SAD
    answers = [await (await start(cascade(models, ask_below))).recognize() for ask_below in (1.0, None)]
    assert [p.probability for p in answers[0].faces[0].probabilities] == [
        p.probability for p in answers[1].faces[0].probabilities
    ]


def test_the_fingerprint_covers_thresholds(models_recipe: Recipe) -> None:
    versions = [types_pb2.ModelVersion(name=name, digest=name[0] * 64) for name in ("first", "second", "detector")]

    def of(ask_below: float | None) -> str:
        first, second = models_recipe.classifiers
        changed = (first, second.model_copy(update={"ask_below": ask_below}))
        return fingerprint(models_recipe.model_copy(update={"classifiers": changed}), versions)

    assert len({of(None), of(0.5), of(0.6)}) == 3
    assert of(None) == fingerprint(models_recipe, versions)


@pytest.fixture
def models_recipe() -> Recipe:
    classifiers = [{"name": name, "address": "localhost:1"} for name in ("first", "second")]
    return Recipe.model_validate(
        {"detector": {"name": "detector", "address": "localhost:1"}, "classifiers": classifiers}
    )


@pytest.mark.parametrize("ask_below", [0, 1.5, "0.5", float("nan")])
def test_a_threshold_is_a_share(models_recipe: Recipe, ask_below: object) -> None:
    recipe = models_recipe.model_dump()
    recipe["classifiers"][1]["ask_below"] = ask_below
    with pytest.raises(ValueError, match="ask_below"):
        Recipe.model_validate(recipe)


def test_somebody_judges_first(models_recipe: Recipe) -> None:
    recipe = models_recipe.model_dump()
    recipe["classifiers"][0]["ask_below"] = 0.5
    with pytest.raises(ValueError, match="nobody judges before first"):
        Recipe.model_validate(recipe)
