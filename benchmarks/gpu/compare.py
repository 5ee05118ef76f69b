"""How far a way's answers are from the CPU's, on pictures of the kind that a model will see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.ways import Run
from services.classifier.probabilities import probabilities
from services.detector.letterbox import letterbox
from serving.models.backends.base import Outputs, Rows
from serving.preprocess import encode, prepare
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
        As the manifest says.

    Raises:
        modelkit.data.expressions.DataError: the folder lacks them.
    """
    spec = manifest.input
    if manifest.detection is not None:
        photos = (_parts() if data is None else _photos(data))[: max(limit // 10, 1)]
        frames = [letterbox(photo, spec.width, spec.height, spec.resize)[0] for photo in photos]
        return encode(np.stack(frames), spec)
    crops = _parts() if data is None else _crops(data)
    return np.concatenate([prepare(crop[None], spec) for crop in crops[:limit]])


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
    """For each batch of BATCH rows: float32 [N, classes, places]; of a classifier its probabilities, at one place."""
    return [_scores(run(rows[start : start + BATCH]), manifest) for start in range(0, len(rows), BATCH)]


def _scores(outputs: Outputs, manifest: Manifest) -> Rows:
    if manifest.detection is not None:
        return outputs[manifest.output.scores][:, 4:]
    return probabilities(outputs, manifest)[:, :, None]


def _parts() -> Sequence[Crops]:
    from modelkit.publishing.parity import stand_ins

    return stand_ins()


def _crops(data: Path) -> Sequence[Crops]:
    from modelkit.data.expressions import read_expressions

    return list(np.repeat(read_expressions(data, "public_test").images[..., None], 3, axis=3))


def _photos(data: Path) -> Sequence[Crops]:
    from modelkit.data.expressions import find_parquet
    from modelkit.data.photos import read_photos

    return [np.asarray(photo.image()) for photo in read_photos(find_parquet(data, "faces", "validation"))]
