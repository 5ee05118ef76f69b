"""The pipeline's fingerprint: where it is the same, the same image with the same options gets the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ferry.v1 import types_pb2
from services.ensembler.recipe import Recipe


def fingerprint(recipe: Recipe, models: Sequence[types_pb2.ModelVersion | None]) -> str:
    """SHA-256 over canonical JSON of model names and digests, weights, vote, crop rule, augmentation and thresholds.

    Addresses and timeouts do not count: they do not change what an answer says.

    Args:
        recipe: what is done.
        models: the versions that do it, classifiers in the recipe's order, then the detector.

    Returns:
        64 hexadecimal digits; empty where a version is not known.
    """
    if any(model is None or not model.digest for model in models):
        return ""
    decisive: dict[str, Any] = {
        "models": [[model.name, model.digest] for model in models if model is not None],
        "weights": list(recipe.weights),
        "vote": recipe.vote,
        "crop_size": recipe.crop_size,
        "crop_margin": recipe.crop_margin,
        "test_time_augmentation": recipe.test_time_augmentation,
    }
    thresholds = [entry.ask_below for entry in recipe.classifiers]
    if any(threshold is not None for threshold in thresholds):
        decisive["ask_below"] = thresholds
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
