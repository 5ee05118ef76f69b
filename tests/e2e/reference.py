"""What the cluster must answer, computed as the toolchain evaluates: pure functions and ONNX Runtime, no gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from services.classifier.probabilities import probabilities
from services.detector.engine import find_faces, prepare_images
from services.ensembler.recipe import Recipe
from serving.images.crop import cut_crops
from serving.images.decode import decode
from serving.models.backends.base import Rows
from serving.preprocess import prepare
from serving.repository.repository import ModelRepository, StoredModel

MAX_FACES = 64


@dataclass(frozen=True, slots=True)
class ReferenceFace:
    """box: x1, y1, x2, y2, pixels; by_model: seven probabilities each, in Ferry's order; fused: their vote."""

    box: list[float]
    score: float
    by_model: dict[str, list[float]]
    fused: list[float]


@dataclass(frozen=True, slots=True)
class Reference:
    digests: dict[str, str]
    faces: list[ReferenceFace]


def recognize(image: bytes, models: Path, recipe: Recipe) -> Reference:
    """The pipeline in one process, every model in float32 on one thread."""
    repository = ModelRepository(models)
    detector = repository.open(recipe.detector.name, "stable")
    classifiers = [repository.open(entry.name, "stable") for entry in recipe.classifiers]
    pixels = decode(image)
    rows, (geometry,) = prepare_images([pixels], detector.manifest)
    raw = _run(detector, rows)[detector.manifest.output.scores][0]
    found = find_faces(raw, geometry, detector.manifest, MAX_FACES, None)
    boxes = np.array([face.box for face in found], np.float32).reshape(-1, 4)
    crops = cut_crops(pixels, boxes, recipe.crop_size, np.float32(recipe.crop_margin).item())
    opinions: dict[str, npt.NDArray[np.float32]] = {}
    for stored in classifiers:
        outputs = _run(stored, prepare(crops, stored.manifest.input))
        opinions[stored.manifest.name] = probabilities(outputs, stored.manifest)
    faces = []
    for index, face in enumerate(found):
        by_model = {name: shares[index] for name, shares in opinions.items()}
        weights = {entry.name: entry.weight for entry in recipe.classifiers}
        if face.probabilities is not None:
            by_model[detector.manifest.name] = face.probabilities
            weights[detector.manifest.name] = recipe.detector_weight
        total = sum(weights[name] for name in by_model)
        fused = sum(weights[name] / total * shares for name, shares in by_model.items())
        faces.append(
            ReferenceFace(
                [float(v) for v in face.box],
                float(face.score),
                {name: [float(v) for v in shares] for name, shares in by_model.items()},
                [float(v) for v in np.asarray(fused)],
            )
        )
    return Reference({s.manifest.name: s.manifest.digest for s in (detector, *classifiers)}, faces)


def _run(stored: StoredModel, rows: Rows) -> dict[str, npt.NDArray[np.float32]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(stored.file()), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {stored.manifest.input.name: rows}), strict=True))
