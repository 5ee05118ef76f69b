"""From a classifier's raw output to probabilities of the seven expressions, by its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.activation import activate
from serving.expressions import EXPRESSIONS, INDEX
from serving.repository.manifest import Activation, Manifest


def probabilities(outputs: Mapping[str, npt.NDArray[Any]], manifest: Manifest) -> npt.NDArray[np.float32]:
    """Activates, maps labels to expressions, and renormalises over those that Ferry knows.

    Logits are divided by the manifest's temperature (Guo et al. 2017, "On Calibration of Modern Neural
    Networks"). Labels without an expression are dropped; labels that share one are added up.

    Args:
        outputs: output name to array; `manifest.output.scores` is [N, len(manifest.labels)].
        manifest: the model's manifest.

    Returns:
        float32 [N, 7], rows sum to 1, columns in the order of `EXPRESSIONS`. A row whose scores are not
        finite, or give no known expression any weight, is NaN.

    Raises:
        KeyError: the model has no such output.
        ValueError: the output's shape does not fit the labels.
    """
    scores = np.asarray(outputs[manifest.output.scores], np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(manifest.labels):
        raise ValueError(
            f"output {manifest.output.scores!r} has shape {list(scores.shape)}; "
            f"{len(manifest.labels)} labels need [N, {len(manifest.labels)}]"
        )
    shares = _weights(scores, manifest.output.activation, manifest.output.temperature)
    known = np.zeros((len(scores), len(EXPRESSIONS)))
    for column, label in enumerate(manifest.labels):
        if label.expression is not None:
            known[:, INDEX[label.expression]] += shares[:, column]
    total = known.sum(axis=1, keepdims=True)
    usable = np.isfinite(total) & (total > 0)
    mapped = np.divide(known, total, out=np.full_like(known, np.nan), where=usable)
    return np.asarray(mapped, np.float32)


def _weights(scores: npt.NDArray[np.float64], activation: Activation, temperature: float) -> npt.NDArray[np.float64]:
    """Scores [N, K] to weights of 0 or more of the same shape; NaN where a row is not finite."""
    finite = np.isfinite(scores).all(axis=1, keepdims=True)
    safe = np.where(finite, scores, 0.0)
    if activation is not Activation.NONE:
        safe = safe / temperature
    return np.where(finite, np.clip(activate(safe, activation), 0, None), np.nan)
