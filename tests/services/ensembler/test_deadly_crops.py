"""Crops that end the process whose model judges them, where two classifiers judge: what that costs. They are real
processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.tensors import to_tensor
from tests.services.classifier.deadly import DEADLY
from tests.services.classifier.fleet import fleets
from tests.services.ensembler.conftest import Start
from tests.services.ensembler.fakes import Models
from tests.tiny_models import classifier_graph, classifier_manifest, publish

NAMES = ["first", "second"]
DEADLY_GREY = round(DEADLY * 255)


@pytest.mark.e2e
async def test_a_deadly_crop_that_two_classifiers_are_asked_about_costs_one_of_each(
    tmp_path: Path, models: Models, start: Start
) -> None:
    """They are asked at once, so that no answer waits for two of them, and both may have begun when one dies."""
    for name in NAMES:
        publish(tmp_path, classifier_manifest(name), classifier_graph())

    async with fleets(tmp_path, 2, *NAMES) as fleet:
        entries = [{"name": name, "address": each.address} for name, each in zip(NAMES, fleet, strict=True)]
        caller = await start(models.recipe.model_dump() | {"classifiers": entries})
        size = models.recipe.crop_size

        async def missing(grey: int) -> list[str]:
            models.detector.crops = to_tensor(np.full((1, size, size, 3), grey, np.uint8))
            return list((await caller.recognize()).faces[0].missing_models)

        for _ in range(4):  # until every replica is known
            assert await missing(100) == []
        assert await missing(DEADLY_GREY) == NAMES
        for _ in range(4):
            assert await missing(100) == []
        assert max(each.dead for each in fleet) == 1
