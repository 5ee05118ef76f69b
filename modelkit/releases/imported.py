"""Publishes an imported checkpoint: exported, checked against PyTorch, judged where there is data."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelkit.data.expressions import REPORTED, DataError, find_parquet, read_expressions
from modelkit.data.framing import CROP_MARGIN
from modelkit.data.photos import read_photos
from modelkit.detector import export as detector_export
from modelkit.importing.classifier import Imported
from modelkit.importing.errors import CheckpointError
from modelkit.importing.labels import left_out
from modelkit.importing.yolo import ImportedDetector
from modelkit.judging.detection import evaluate_detector
from modelkit.judging.opinions import classify, report
from modelkit.publishing.export import export
from modelkit.publishing.parity import MOST_PICTURES, Crops, check_classifier, check_detector, stand_ins
from modelkit.publishing.publish import publish
from modelkit.training.manifests import EMBEDDING, INPUT, LOGITS
from serving.repository.manifest import (
    Activation,
    Color,
    DetectionSpec,
    InputSpec,
    Label,
    Manifest,
    OutputSpec,
    Task,
)
from serving.repository.repository import ModelRepository

MODEL_FILE = "model.onnx"

MakeManifest = Callable[[str, dict[str, str], dict[str, Any]], Manifest]


@dataclass(frozen=True)
class Source:
    """Where a version comes from, for its record.

    Attributes:
        file: the checkpoint.
        license: of the weights.
        architecture: of the network.
    """

    file: Path
    license: str
    architecture: str

    def record(self) -> dict[str, Any]:
        """As plain values: name and SHA-256, no folders."""
        with self.file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"imported_from": self.file.name, "sha256": digest, "architecture": self.architecture}


def publish_classifier(
    imported: Imported,
    labels: Sequence[Label],
    source: Source,
    models_dir: Path,
    name: str,
    *,
    data: Path | None = None,
) -> Path:
    """Publishes a classifier as the next version of `name`.

    Args:
        imported: network and preparation of its input.
        labels: one for each class, in the model's order.
        source: for the record.
        models_dir: the model repository.
        name: of the model there.
        data: folder with the Parquet data to judge it on; None: the version says that nobody has.

    Returns:
        The version's directory.

    Raises:
        CheckpointError: there are not as many labels as classes, or the network takes no pictures of this size.
        ExportError: the exported file answers otherwise than PyTorch.
        PublishError: another publish is running.
    """
    if len(labels) != imported.classes:
        raise CheckpointError(f"the model has {imported.classes} classes, and {len(labels)} labels are named")
    _check_side(imported)
    training = source.record()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / MODEL_FILE
        embedding = export(imported.network, file, imported.size, channels=imported.channels)
        spec = InputSpec(
            name=INPUT,
            width=imported.size,
            height=imported.size,
            color=Color.GREY if imported.channels == 1 else Color.RGB,
            mean=imported.mean,
            std=imported.std,
            crop_margin=CROP_MARGIN,
        )
        crops = stand_ins() if data is None else _crops(data)
        training["parity"] = check_classifier(imported.network.float().eval(), file, spec, crops).record()

        def manifest(version: str, files: dict[str, str], evaluation: dict[str, Any]) -> Manifest:
            return Manifest(
                name=name,
                version=version,
                task=Task.CLASSIFY,
                architecture=imported.architecture,
                description=f"Imported from {source.file.name}.{left_out(labels)}",
                license=source.license,
                input=spec,
                labels=tuple(labels),
                output=OutputSpec(
                    scores=LOGITS, activation=Activation.SOFTMAX, embedding=EMBEDDING if embedding else None
                ),
                precision="fp16 weights, fp32 compute",
                files=files,
                training=training,
                evaluation=evaluation,
            )

        return _publish(models_dir, name, file, manifest, data)


def publish_detector(
    imported: ImportedDetector,
    labels: Sequence[Label],
    source: Source,
    models_dir: Path,
    name: str,
    *,
    score_threshold: float = 0.25,
    data: Path | None = None,
) -> Path:
    """Publishes a detector as the next version of `name`; arguments and errors as `publish_classifier`.

    Args:
        score_threshold: smallest score of a face, [0.001, 1].
    """
    training = source.record()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / MODEL_FILE
        detector_export.export(imported.network, file, imported.side)
        spec = detector_export.input_spec(imported.side)
        photos = _photos(data)
        pictures = stand_ins() if photos is None else [np.asarray(each.image()) for each in read_photos([photos])]
        training["parity"] = check_detector(imported.network.float().eval(), file, spec, pictures).record()

        def manifest(version: str, files: dict[str, str], evaluation: dict[str, Any]) -> Manifest:
            return Manifest(
                name=name,
                version=version,
                task=Task.DETECT,
                architecture=imported.architecture,
                description=f"Imported from {source.file.name}.{left_out(labels)}",
                license=source.license,
                input=spec,
                labels=tuple(labels),
                output=OutputSpec(scores=detector_export.OUTPUT, activation=Activation.NONE),
                detection=DetectionSpec(score_threshold=score_threshold),
                precision="fp16-stored",
                files=files,
                training=training,
                evaluation=evaluation,
            )

        return _publish(models_dir, name, file, manifest, data)


def _check_side(imported: Imported) -> None:
    try:
        with torch.inference_mode():
            imported.network.eval()(torch.zeros(1, imported.channels, imported.size, imported.size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise CheckpointError(
            f"the network takes no pictures of {imported.size} px ({error}): --size is the side it was trained with"
        ) from error


def _publish(models_dir: Path, name: str, file: Path, manifest: MakeManifest, data: Path | None) -> Path:
    """Publishes on trial, judges that, and publishes with the figures."""
    evaluation: dict[str, Any] = {}
    if data is not None:
        with tempfile.TemporaryDirectory() as scratch:
            publish(Path(scratch), name, {MODEL_FILE: file}, lambda version, files: manifest(version, files, {}))
            evaluation = _judge(Path(scratch), name, data)
    return publish(models_dir, name, {MODEL_FILE: file}, lambda version, files: manifest(version, files, evaluation))


def _judge(models_dir: Path, name: str, data: Path) -> dict[str, Any]:
    model = ModelRepository(models_dir).open(name, "latest")
    if model.manifest.task is Task.DETECT:
        crops = read_expressions(data, REPORTED) if model.manifest.has_expressions else None
        figures = evaluate_detector(model.directory, _photos(data), crops)
        return {key: value for key, value in figures.items() if key not in {"model", "version"}}
    crops = read_expressions(data, REPORTED)
    figures = report(name, model.manifest.version, classify(model, crops.images), crops.labels)
    return {REPORTED: {key: value for key, value in figures.items() if key not in {"model", "version"}}}


def _crops(data: Path) -> list[Crops]:
    faces = read_expressions(data, REPORTED).images[:MOST_PICTURES]
    return list(np.repeat(faces[..., None], 3, axis=3))


def _photos(data: Path | None) -> Path | None:
    if data is None:
        return None
    try:
        return find_parquet(data, "faces", "validation")[0]
    except DataError:
        return None
