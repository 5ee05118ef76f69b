"""Expressions as classifiers see them: soft labels for photographed faces that nobody labelled, and for crops.

Of photographed faces only those without a mask, of 24 px and more, get one; the others stay unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from modelkit.data.expressions import ExpressionSet
from modelkit.data.photos import Photo
from modelkit.data.tables import write_table
from modelkit.judging.opinions import classify
from services.classifier.probabilities import probabilities
from serving.expressions import EXPRESSIONS
from serving.images.crop import cut_crops
from serving.models.backends import Backend, load_backend
from serving.preprocess import prepare
from serving.repository.manifest import Manifest
from serving.repository.repository import StoredModel

MIN_FACE = 24.0
"""Shortest longer side (pixels) of a face whose expression a classifier is asked for."""


def write_pseudo_labels(photos: Sequence[Photo], classifiers: Sequence[Path], table: Path) -> int:
    """Asks the classifiers (model directories) and writes their mean as an .npz: photo name to float32 [N, 7].

    Rows of faces that were not asked for are NaN.

    Returns:
        How many faces were labelled.

    Raises:
        ValueError: no classifier was given.
    """
    if not classifiers:
        raise ValueError("pseudo-labels need at least one classifier's model directory")
    models = []
    for directory in classifiers:
        manifest = Manifest.read(directory)
        models.append((load_backend(directory / manifest.variants["default"], threads=1), manifest))
    rows: dict[str, Any] = {}
    labelled = 0
    for photo in tqdm(photos, desc="pseudo-labels", unit="photo", mininterval=5):
        sides = (photo.boxes[:, 2:] - photo.boxes[:, :2]).max(axis=1, initial=0)
        chosen = np.flatnonzero(photo.unmasked & (sides >= MIN_FACE))
        if not len(chosen):
            continue
        opinion = np.full((len(photo.boxes), len(EXPRESSIONS)), np.nan, np.float32)
        pixels = np.asarray(photo.image())
        opinions = [_ask(backend, manifest, pixels, photo.boxes[chosen]) for backend, manifest in models]
        opinion[chosen] = np.mean(opinions, axis=0)
        rows[photo.name] = opinion
        labelled += len(chosen)
    write_table(table, rows, compressed=True)
    return labelled


def write_taught(crops: ExpressionSet, classifiers: Sequence[StoredModel], table: Path) -> None:
    """Asks the classifiers about every crop and writes their mean as an .npz: probabilities float32 [N, 7], digest."""
    answers = [
        classify(classifier, crops.images, threads=1) for classifier in tqdm(classifiers, "crops", mininterval=5)
    ]
    write_table(table, {"probabilities": np.mean(answers, axis=0, dtype=np.float32), "digest": crops.digest})


def _ask(
    backend: Backend, manifest: Manifest, pixels: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """float32 [N, 7]: one classifier's probabilities of the faces in `boxes`, in Ferry's order."""
    spec = manifest.input
    crops = cut_crops(pixels, boxes, spec.width, spec.crop_margin)
    return probabilities(backend.run(prepare(crops, spec)), manifest)
