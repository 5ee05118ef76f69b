"""How far a way's answers are from the CPU's, on pictures of the kind that a model will see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.ways import Run
from services.detector.letterbox import letterbox
from serving.backends.base import Rows
from serving.preprocess import prepare
from serving.repository.manifest import Manifest

BATCH = 16
Crops = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Attributes:
    pictures: that were compared.
    max_difference: of any probability, or of any score of a detector.
    same_first: share of the pictures whose likeliest class is the same; of detectors, that of the surest box.
    """

    pictures: int
    max_difference: float
    same_first: float


def read_pictures(manifest: Manifest, data: Path | None, limit: int) -> Rows:
    """Inputs of a model: labelled crops or photos of the data folder; without one, parts of a sample photo.

    Args:
        manifest: of the model.
        data: folder with `fer2013/public_test` and `faces/validation`; None: there is none.
        limit: pictures at most; of photos, whose comparison is of thousands of boxes each, a tenth.

    Returns:
        float32 [N, C, H, W], as the manifest says.

    Raises:
        modelkit.data.DataError: the folder lacks them.
    """
    spec = manifest.input
    if manifest.detection is not None:
        photos = _photos(data)[: max(limit // 10, 1)]
        frames = [letterbox(photo, spec.width, spec.height, spec.resize)[0] for photo in photos]
        return prepare(np.stack(frames), spec)
    return np.concatenate([prepare(crop[None], spec) for crop in _crops(data)[:limit]])


def agreement(actual: Sequence[Rows], wanted: Sequence[Rows]) -> Agreement:
    """Compares the answers of two ways.

    Args:
        actual, wanted: for each batch, as `scores` gives it.
    """
    pairs = list(zip(actual, wanted, strict=True))
    largest = max(float(np.abs(a - w).max(initial=0)) for a, w in pairs)
    same: list[bool] = []
    for a, w in pairs:
        surest = w.sum(axis=1).argmax(axis=1)
        places = np.arange(len(w))
        same += (a[places, :, surest].argmax(axis=1) == w[places, :, surest].argmax(axis=1)).tolist()
    return Agreement(len(same), largest if np.isfinite(largest) else float("inf"), float(np.mean(same)))


def scores(run: Run, rows: Rows, manifest: Manifest) -> list[Rows]:
    """For each batch of BATCH rows: float32 [N, classes, places]; a classifier looks at one place."""
    return [_scores(run(rows[start : start + BATCH])[manifest.output.scores], manifest) for start in _starts(rows)]


def _starts(rows: Rows) -> range:
    return range(0, len(rows), BATCH)


def _scores(answer: Rows, manifest: Manifest) -> Rows:
    if manifest.detection is not None:
        return answer[:, 4:]
    logits = answer / manifest.output.temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)[:, :, None]


def _crops(data: Path | None) -> Sequence[Crops]:
    if data is None:
        from modelkit.parity import stand_ins

        return stand_ins()
    from modelkit.data import read_expressions

    return list(np.repeat(read_expressions(data, "public_test").images[..., None], 3, axis=3))


def _photos(data: Path | None) -> Sequence[Crops]:
    if data is None:
        from modelkit.parity import stand_ins

        return stand_ins()
    from modelkit.data import find_parquet
    from modelkit.detector.photos import read_photos

    return [np.asarray(photo.image()) for photo in read_photos(find_parquet(data, "faces", "validation"))]
