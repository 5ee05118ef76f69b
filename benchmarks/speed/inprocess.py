"""The same models back to back in one process, without gRPC: what the cluster is measured against."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.classifier.probabilities import probabilities
from services.detector.engine import DetectedFace, find_faces, prepare_images
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from services.ensembler.vote import soft_vote
from serving.images.crop import cut_crops
from serving.images.decode import decode
from serving.models import tuning
from serving.models.backends import Backend
from serving.preprocess import prepare
from serving.repository.repository import ModelRepository, StoredModel


@dataclass(frozen=True, slots=True)
class _Loaded:
    stored: StoredModel
    backend: Backend

    @classmethod
    def open(cls, repository: ModelRepository, name: str, optimized: bool) -> _Loaded:
        """The stable version, run the way a service on this machine would run it."""
        stored = repository.open(name, "stable")
        return cls(stored, tuning.load(stored, tuning.choose(stored, reduced=optimized)))


class InProcessPipeline:
    """Detector, classifiers and vote as plain function calls, every CPU given to each model in turn."""

    def __init__(self, models_dir: Path, *, optimized: bool = False) -> None:
        repository = ModelRepository(models_dir)
        self._recipe = read_recipe(DEFAULT_RECIPE)
        self._detector = _Loaded.open(repository, self._recipe.detector.name, optimized)
        self._classifiers = [_Loaded.open(repository, entry.name, optimized) for entry in self._recipe.classifiers]

    def recognize(self, data: bytes) -> tuple[list[DetectedFace], npt.NDArray[np.float32]]:
        """Faces and their fused probabilities, float32 [N, 7]."""
        image = decode(data)
        rows, (geometry,) = prepare_images([image], self._detector.stored.manifest)
        manifest = self._detector.stored.manifest
        raw = self._detector.backend.run(rows)[manifest.output.scores][0]
        faces = find_faces(raw, geometry, manifest)
        if not faces:
            return [], np.empty((0, 7), np.float32)
        boxes = np.array([face.box for face in faces], np.float32)
        crops = cut_crops(image, boxes, self._recipe.crop_size, self._recipe.crop_margin)
        opinions = []
        for model in self._classifiers:
            outputs = model.backend.run(prepare(crops, model.stored.manifest.input))
            opinions.append(probabilities(outputs, model.stored.manifest))
        own = [np.full(7, np.nan, np.float32) if face.probabilities is None else face.probabilities for face in faces]
        opinions.append(np.stack(own))
        return faces, soft_vote(np.stack(opinions), np.array(self._recipe.weights, np.float32))

    def images_per_second(self, data: bytes, seconds: float) -> float:
        """Throughput of one image after the other."""
        for _ in range(3):
            self.recognize(data)
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.recognize(data)
            done += 1
        return done / (time.perf_counter() - started)
