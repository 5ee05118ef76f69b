"""Faces to calibrate by and to judge by, and how good a loaded model is on them, through the serving code.

Settings are chosen on pictures held back from training; `public_test` and faces/validation are only reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelkit.data.expressions import REPORTED, DataError, ExpressionSet, find_parquet, read_expressions
from modelkit.data.photos import Photo, read_photos
from modelkit.data.selection import select
from modelkit.judging.detection import Detector, crop_probabilities, match_all
from modelkit.judging.metrics import expression_metrics
from modelkit.judging.opinions import classify_with
from services.classifier.probabilities import probabilities
from services.detector.engine import prepare_images
from serving.expressions import EXPRESSIONS
from serving.models.backends import Backend
from serving.models.backends.base import Outputs, Rows
from serving.preprocess import prepare
from serving.repository.manifest import Encoding, Manifest, Task

PHOTOS_HELD_BACK = 8
"""Every so-manieth photo of faces/train is kept from calibration and judged on."""

BATCH = 8
SEED = 7
Figures = dict[str, float]


class Judge(Protocol):
    """What quantization needs to know about a kind of model."""

    def calibration(self) -> Iterator[Rows]:
        """Prepared input, as the manifest says, the same at every call."""

    def training(self) -> npt.NDArray[np.uint8]:
        """Pictures to learn from, uint8 [N, H, W], grey; none of them judges.

        Raises:
            DataError: this kind of model is not trained here.
        """

    def scores(self, outputs: Outputs) -> npt.NDArray[np.float32]:
        """What users see of raw outputs, in [0, 1]: float32 [N, ...]."""

    def held_back(self, backend: Backend) -> Figures:
        """What the gate looks at, in [0, 1], more is better."""

    def reported(self, backend: Backend) -> Figures:
        """The same on pictures that decide nothing."""


def loss(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """The largest drop of any figure; negative where all have grown."""
    return max(before[key] - after[key] for key in before)


def open_judge(manifest: Manifest, data: Path, cache: Path, samples: int, limit: int | None = None) -> Judge:
    """Reads what a model is calibrated and judged by.

    Args:
        manifest: of the model.
        data: see `modelkit.data.expressions.find_parquet`.
        cache: folder where the search for near-duplicates is kept.
        samples: pictures to calibrate by, at most.
        limit: pictures to judge by, at most; all by default.

    Raises:
        DataError: pictures are missing, or those to calibrate by show no face or one expression only.
    """
    if manifest.task is Task.CLASSIFY:
        return _ClassifierJudge.open(manifest, data, cache, samples, limit)
    return _DetectorJudge.open(manifest, data, cache, samples, limit)


@dataclass(frozen=True, eq=False)
class _ClassifierJudge:
    manifest: Manifest
    learnt_from: ExpressionSet
    calibrated_by: ExpressionSet
    judged_by: ExpressionSet
    reported_by: ExpressionSet

    @classmethod
    def open(cls, manifest: Manifest, data: Path, cache: Path, samples: int, limit: int | None) -> _ClassifierJudge:
        selection = select(data, REPORTED, cache)
        calibrated_by = _some(selection.train, samples)
        shown = sorted({int(label) for label in calibrated_by.labels})
        if len(shown) < 2:
            what = f"only {EXPRESSIONS[shown[0]].value!r} faces" if shown else "no faces"
            raise DataError(
                f"calibration needs faces of several expressions, but the {len(calibrated_by)} pictures of train "
                f"that may be used show {what}; give more pictures with --data or --samples"
            )
        if not len(selection.validation):
            raise DataError(f"{data} holds too few pictures to hold some back and judge by them")
        reported = read_expressions(data, REPORTED)
        judged_by, reported_by = _some(selection.validation, limit), _some(reported, limit)
        return cls(manifest, selection.train, calibrated_by, judged_by, reported_by)

    def training(self) -> npt.NDArray[np.uint8]:
        if self.manifest.input.encoding is not Encoding.FLOATS:
            raise DataError(
                f"{self.manifest.name} takes bytes, and quantization-aware fine-tuning is made for networks that take "
                "floats; use --method static"
            )
        return self.learnt_from.images

    def calibration(self) -> Iterator[Rows]:
        for start in range(0, len(self.calibrated_by), BATCH):
            crops = np.repeat(self.calibrated_by.images[start : start + BATCH, :, :, None], 3, axis=3)
            yield prepare(crops, self.manifest.input)

    def scores(self, outputs: Outputs) -> npt.NDArray[np.float32]:
        return probabilities(outputs, self.manifest)

    def held_back(self, backend: Backend) -> Figures:
        return self._accuracy(backend, self.judged_by)

    def reported(self, backend: Backend) -> Figures:
        return self._accuracy(backend, self.reported_by)

    def _accuracy(self, backend: Backend, faces: ExpressionSet) -> Figures:
        answers = classify_with(backend, self.manifest, faces.images)
        return {"accuracy": expression_metrics(answers, faces.labels)["accuracy"]}


@dataclass(frozen=True, eq=False)
class _DetectorJudge:
    manifest: Manifest
    calibrated_by: Sequence[Photo]
    judged_by: Sequence[Photo]
    reported_by: Sequence[Photo]
    crops: ExpressionSet | None
    reported_crops: ExpressionSet | None

    @classmethod
    def open(cls, manifest: Manifest, data: Path, cache: Path, samples: int, limit: int | None) -> _DetectorJudge:
        photos = read_photos(find_parquet(data, "faces", "train"))
        rest = [photo for i, photo in enumerate(photos) if i % PHOTOS_HELD_BACK]
        order = np.random.default_rng(SEED).permutation(len(rest))[:samples]
        calibrated_by = [rest[i] for i in order]
        judged_by = photos[::PHOTOS_HELD_BACK][:limit]
        for what, some in (("calibrate", calibrated_by), ("judge", judged_by)):
            if not any(len(photo.boxes) for photo in some):
                raise DataError(f"none of the {len(some)} photos of faces/train to {what} by shows a face")
        reported_by = read_photos(find_parquet(data, "faces", "validation"))[:limit]
        crops = reported_crops = None
        if manifest.has_expressions:
            crops, reported_crops = select(data, REPORTED, cache).validation, read_expressions(data, REPORTED)
            crops, reported_crops = _some(crops, limit), _some(reported_crops, limit)
        return cls(manifest, calibrated_by, judged_by, reported_by, crops, reported_crops)

    def calibration(self) -> Iterator[Rows]:
        full = self.manifest.input.frames[0]  # tensors of one shape: histograms are made of several batches at once
        for photo in self.calibrated_by:
            yield prepare_images([np.asarray(photo.image())], self.manifest, full)[0]

    def training(self) -> npt.NDArray[np.uint8]:
        raise DataError(
            f"{self.manifest.name} is a detector, and quantization-aware fine-tuning is made for classifiers; "
            "use --method static"
        )

    def scores(self, outputs: Outputs) -> npt.NDArray[np.float32]:
        return outputs[self.manifest.output.scores][:, 4:]

    def held_back(self, backend: Backend) -> Figures:
        return self._figures(backend, self.judged_by, self.crops)

    def reported(self, backend: Backend) -> Figures:
        return self._figures(backend, self.reported_by, self.reported_crops)

    def _figures(self, backend: Backend, photos: Sequence[Photo], crops: ExpressionSet | None) -> Figures:
        detector = Detector(backend, self.manifest)
        found = match_all(detector, photos)
        both = found.recall + found.precision
        figures = {"f1": 2 * found.recall * found.precision / both if both else 0.0}
        if crops is not None and len(crops):
            answers = crop_probabilities(detector, crops.images)
            figures["accuracy"] = expression_metrics(answers, crops.labels)["accuracy"]
        return figures


def _some(faces: ExpressionSet, limit: int | None) -> ExpressionSet:
    """At most `limit` of the faces, drawn by chance but always the same."""
    if limit is None or limit >= len(faces):
        return faces
    return faces.take(np.sort(np.random.default_rng(SEED).permutation(len(faces))[:limit]))
