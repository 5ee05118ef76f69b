"""What is computed around a run is what would be computed for each request alone."""

from __future__ import annotations

import numpy as np
import pytest

from services.classifier.judging import PROBABILITIES, judging
from services.classifier.probabilities import probabilities
from serving.models.backends.base import Outputs, Rows
from serving.preprocess import prepare
from serving.repository.manifest import Color, Encoding, InputSpec, Manifest
from tests.tiny_models import classifier_manifest

LABELS = 7


def manifest(color: Color, encoding: Encoding, side: int) -> Manifest:
    planes = 3 if color is Color.RGB else 1
    levels = {"mean": (0.5,) * planes, "std": (0.25,) * planes}
    spec = InputSpec(name="images", width=side, height=side, color=color, encoding=encoding, **levels)
    return classifier_manifest().model_copy(update={"input": spec})


class Model:
    """Keeps what it is given; its scores are of the rows' means."""

    def __init__(self, scores: str) -> None:
        self.given: list[Rows] = []
        self._scores = scores

    def __call__(self, rows: Rows) -> Outputs:
        self.given.append(rows)
        means = rows.reshape(len(rows), -1).mean(axis=1, dtype=np.float32)
        return {self._scores: means[:, None] * np.arange(LABELS, dtype=np.float32)}


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("color", Color)
@pytest.mark.parametrize("side", [16, 20])
def test_crops_and_what_was_made_of_them_before_come_to_the_same(color: Color, encoding: Encoding, side: int) -> None:
    known = manifest(color, encoding, side)
    model = Model(known.output.scores)
    run = judging(known, model)
    crops = np.random.default_rng(5).integers(0, 256, (3, 16, 16, 3), np.uint8)
    prepared = prepare(crops, known.input)
    answers = [run(crops), run(prepared)]
    for rows, outputs in zip(model.given, answers, strict=True):
        np.testing.assert_array_equal(rows, prepared)
        assert rows.dtype == prepared.dtype
        np.testing.assert_array_equal(outputs[PROBABILITIES], probabilities(outputs, known))
    alone = np.concatenate([run(crops[i : i + 1])[PROBABILITIES] for i in range(3)])
    np.testing.assert_allclose(answers[0][PROBABILITIES], alone, rtol=1e-6)
