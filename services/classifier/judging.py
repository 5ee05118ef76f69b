"""What is computed around a classifier's run, for all of its rows at once: small arrays cost as much as large ones."""

from __future__ import annotations

import numpy as np

from services.classifier.probabilities import probabilities
from serving.models.backends.base import Outputs, Rows, Run
from serving.preprocess import prepare
from serving.repository.manifest import Manifest

PROBABILITIES = "ferry/probabilities"
"""Beside the model's own outputs: float32 [N, 7] as `services.classifier.probabilities` gives them."""


def judging(manifest: Manifest, run: Run) -> Run:
    """A run that takes crops, uint8 [N, height, width, 3], too, and has the probabilities among its outputs.

    Args:
        manifest: of the model.
        run: of its input to its outputs.
    """

    def whole(rows: Rows) -> Outputs:
        # Bytes in colour that are the model's input already come out of `prepare` as they are.
        outputs = run(prepare(np.asarray(rows, np.uint8), manifest.input) if _are_crops(rows) else rows)
        return {**outputs, PROBABILITIES: probabilities(outputs, manifest)}

    return whole


def _are_crops(rows: Rows) -> bool:
    return rows.dtype == np.uint8 and rows.ndim == 4 and rows.shape[3] == 3
