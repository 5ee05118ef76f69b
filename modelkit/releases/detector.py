"""Makes a model version out of a detector's training run, judges it, and publishes it."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modelkit.data.expressions import REPORTED, find_parquet, read_expressions
from modelkit.data.photos import read_photos
from modelkit.data.selection import select
from modelkit.detector.export import OUTPUT, export, input_spec
from modelkit.detector.network import build
from modelkit.detector.train import CHECKPOINT, LOSSES, STARTS
from modelkit.judging.detection import Detector, crop_probabilities, evaluate_detector
from modelkit.judging.metrics import fit_temperature
from modelkit.publishing.parity import ExportError, Parity, check_detector
from modelkit.publishing.publish import PublishError, publish
from serving.disk import write_whole
from serving.expressions import EXPRESSIONS
from serving.repository.manifest import (
    Activation,
    DetectionSpec,
    Label,
    Manifest,
    OutputSpec,
    ScoreRule,
    Task,
)

NAME = "detector"
LICENSE = "AGPL-3.0"
MODEL_FILE, RECORD_FILE, CURVES_FILE, PARITY_FILE = "model.onnx", "record.json", "curves.png", "parity.json"
DESCRIPTION = (
    "Finds faces in photos and gives each a first opinion on its expression. A YOLO of Ultralytics, fine-tuned on "
    "photographed faces, expression crops blended into photos, and pseudo-labels."
)
SIDE = 512
DETECTION = DetectionSpec(score_rule=ScoreRule.SUM, score_threshold=0.22, iou_threshold=0.35)
"""Input side and rules, decided on faces/validation (see docs/models.md)."""

MIN_RECALL, MIN_PRECISION = 0.85, 0.80
"""The gate: a detector below it on faces/validation is not published by accident."""


def load_run(run: Path) -> tuple[Any, dict[str, Any]]:
    """The averaged network of a run, in evaluation mode, and its checkpoint.

    Raises:
        PublishError: the run has no checkpoint yet.
    """
    file = run / CHECKPOINT
    if not file.is_file():
        raise PublishError(f"{file} does not exist: run `ferry models train {NAME}` first")
    state = torch.load(file, map_location="cpu", weights_only=True)
    net = build(state["settings"]["architecture"])
    net.load_state_dict(state["average"])
    return net.eval(), state


def export_run(run: Path, data: Path, side: int = SIDE) -> Parity:
    """Writes `model.onnx`, `curves.png` and `parity.json` into the run's folder; says how PyTorch and the model agree.

    Raises:
        PublishError: the run has no checkpoint.
        DataError: `data` has no photos in `faces/validation` to compare on.
        ExportError: the file does not answer these photos as the network does.
        ValueError: `side` is no multiple of 32.
    """
    net, state = load_run(run)
    photos = [np.asarray(photo.image()) for photo in read_photos(find_parquet(data, "faces", "validation"))]
    file = run / MODEL_FILE
    (run / PARITY_FILE).unlink(missing_ok=True)  # of an earlier export, which this file is not
    export(net, file, side)
    try:
        parity = check_detector(net.float().eval(), file, input_spec(side), photos)
    except ExportError:
        file.unlink()
        raise
    draw_curves(state["history"], run / CURVES_FILE)
    write_whole(run / PARITY_FILE, json.dumps(parity.record(), indent=1) + "\n")
    return parity


def publish_run(
    run: Path,
    data: Path,
    models_dir: Path,
    *,
    side: int = SIDE,
    detection: DetectionSpec = DETECTION,
    below_gate: bool = False,
) -> Path:
    """Calibrates and judges the exported model and publishes it as the detector's next version.

    Args:
        run: folder of a training run that `export_run` has been called on.
        data: folder with `faces/` and `fer2013/`.
        models_dir: the model repository.
        side: input side in pixels, as exported.
        detection: score rule and thresholds.
        below_gate: publish even if recall or precision is below the gate.

    Returns:
        The new version's directory.

    Raises:
        PublishError: nothing was exported and checked, the model is below the gate, or another publish runs.
        DataError: `data` lacks what the model is judged by.
    """
    if not all((run / name).is_file() for name in (MODEL_FILE, PARITY_FILE)):
        raise PublishError(f"{run} holds no export that was checked; run `ferry models export {NAME}` first")
    _, state = load_run(run)
    starts = json.loads((run / STARTS).read_text()) if (run / STARTS).is_file() else []
    record: dict[str, Any] = {
        "steps": state["step"],
        "settings": state["settings"],
        "sources": starts[-1]["sources"] if starts else {},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "side": side,
        "parity": json.loads((run / PARITY_FILE).read_text()),
    }
    architecture = state["settings"]["architecture"]

    def maker(temperature: float, evaluation: dict[str, Any]) -> Callable[[str, dict[str, str]], Manifest]:
        return lambda version, digests: detector_manifest(
            version,
            digests,
            architecture=architecture,
            side=side,
            detection=detection,
            temperature=temperature,
            training=record,
            evaluation=evaluation,
        )

    files = {name: run / name for name in (MODEL_FILE, CURVES_FILE)}
    with tempfile.TemporaryDirectory() as scratch:
        trial = publish(Path(scratch), NAME, files, maker(1.0, {}))
        record["temperature"] = temperature = calibrate(trial, data, run.parent)
        trial = publish(Path(scratch), NAME, files, maker(temperature, {}))
        faces, crops = find_parquet(data, "faces", "validation")[0], read_expressions(data, REPORTED)
        figures = evaluate_detector(trial, faces, crops)
        if not below_gate and (figures["recall"] < MIN_RECALL or figures["precision"] < MIN_PRECISION):
            raise PublishError(
                f"the detector's recall is {figures['recall']:.3f} and its precision {figures['precision']:.3f} on "
                f"{faces.name}; its gate is {MIN_RECALL} and {MIN_PRECISION}; --below-gate publishes it nevertheless"
            )
        evaluation = {key: value for key, value in figures.items() if key not in {"model", "version"}}
        full = record | {"starts": starts, "evaluation": evaluation, "history": state["history"]}
        (Path(scratch) / RECORD_FILE).write_text(json.dumps(full, indent=1) + "\n")
        files[RECORD_FILE] = Path(scratch) / RECORD_FILE
        return publish(models_dir, NAME, files, maker(temperature, evaluation))


def calibrate(directory: Path, data: Path, cache: Path) -> float:
    """The temperature of the expression probabilities that makes held-back crops' labels likeliest."""
    held_back = select(data, REPORTED, cache).validation
    answers = crop_probabilities(Detector.load(directory), held_back.images)
    answered = np.isfinite(answers).all(axis=1)
    if not answered.any():
        return 1.0
    logarithms = np.log(np.maximum(answers[answered], 1e-6))
    return float(np.clip(fit_temperature(logarithms, held_back.labels[answered]), 0.1, 10.0))


def detector_manifest(
    version: str,
    digests: dict[str, str],
    *,
    architecture: str,
    side: int,
    detection: DetectionSpec,
    temperature: float,
    training: dict[str, Any],
    evaluation: dict[str, Any],
) -> Manifest:
    """The manifest of a detector with Ferry's seven labels; `digests` is file name to SHA-256."""
    return Manifest(
        name=NAME,
        version=version,
        task=Task.DETECT,
        architecture=architecture,
        description=DESCRIPTION,
        license=LICENSE,
        input=input_spec(side),
        labels=tuple(Label(name=expression.value, expression=expression) for expression in EXPRESSIONS),
        output=OutputSpec(scores=OUTPUT, activation=Activation.NONE, temperature=temperature),
        detection=detection,
        precision="fp16-stored",
        files=digests,
        training=training,
        evaluation=evaluation,
    )


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws the three losses over the steps as a small PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, loss in zip(figure.subplots(1, len(LOSSES)), LOSSES, strict=True):
        axis.plot([point["step"] for point in history], [point[loss] for point in history])
        axis.set(title=f"{loss} loss", xlabel="step")
        axis.grid(alpha=0.3)
    figure.savefig(path)
