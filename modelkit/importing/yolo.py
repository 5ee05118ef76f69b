"""An Ultralytics checkpoint (`best.pt`): its weights in a fresh network of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from modelkit.detector.network import build
from modelkit.importing.errors import CheckpointError
from modelkit.importing.fit import fit
from modelkit.importing.inert import Shell, read_inert, state_dict
from modelkit.importing.labels import MAX_CLASSES

FAMILIES = {22: "yolov8", 23: "yolo11"}
"""By the number of the last layer."""

WIDTHS = {
    "yolov8": {16: "n", 32: "s", 48: "m", 64: "l", 80: "x"},
    "yolo11": {16: "n", 32: "s", 64: "ml", 96: "x"},
}
"""Sizes by the channels of the first convolution; 64 channels of YOLO11 are m or l."""


@dataclass(frozen=True)
class ImportedDetector:
    """A YOLO network filled with a checkpoint.

    Attributes:
        network: an `ultralytics` DetectionModel.
        architecture: such as `yolo11n`.
        names: of its classes, in the order of its outputs.
        side: of the images it was trained on, pixels.
        shells: classes of the file that were kept as empty shells, for the person who imports it.
    """

    network: Any
    architecture: str
    names: tuple[str, ...]
    side: int
    shells: tuple[str, ...]


def import_yolo(file: Path, side: int | None = None) -> ImportedDetector:
    """Reads a checkpoint of YOLOv8 or YOLO11 for detection. Nothing in the file is run.

    Args:
        file: as Ultralytics saves it.
        side: of the input in pixels; None: what the checkpoint was trained with, else 640.

    Raises:
        CheckpointError: it is no such checkpoint, or wants more than a network needs.
    """
    content, shells = read_inert(file)
    module = next((content[key] for key in ("ema", "model") if isinstance(content.get(key), Shell)), None)
    if module is None:
        raise CheckpointError(f"{file} holds no network under `ema` or `model`: is it a checkpoint of Ultralytics?")
    tensors = state_dict(module)
    names = _names(module, tensors)
    for architecture in _architectures(tensors):
        network = build(architecture, classes=len(names))
        try:
            fit(network, _plain(tensors))
        except CheckpointError as error:
            problem = error
            continue
        network.names = dict(enumerate(names))
        return ImportedDetector(network, architecture, names, side or _side(content), shells)
    raise CheckpointError(f"{file}: {problem}")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the network has them: the head's anchors and strides are computed, not learnt."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith((".anchors", ".strides", ".stride"))}


def _architectures(tensors: Mapping[str, Tensor]) -> list[str]:
    layers = [int(name.split(".")[1]) for name in tensors if name.startswith("model.") and name.split(".")[1].isdigit()]
    stem = tensors.get("model.0.conv.weight")
    family = FAMILIES.get(max(layers, default=-1))
    sizes = WIDTHS[family].get(len(stem), "") if family is not None and stem is not None else ""
    if family is None or not sizes:
        raise CheckpointError("this is neither YOLOv8 nor YOLO11 for detection; export it to ONNX and publish that")
    return [f"{family}{size}" for size in sizes]


def _names(module: Shell, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Class names; their number must be that of the head's outputs."""
    stored = module.state.get("names")
    if isinstance(stored, Mapping):
        stored = [stored[key] for key in sorted(stored)]
    last = max((int(name.split(".")[1]) for name in tensors if name.split(".")[1].isdigit()), default=-1)
    bias = tensors.get(f"model.{last}.cv3.0.2.bias")
    count = 0 if bias is None else len(bias)
    if not isinstance(stored, list | tuple) or not all(isinstance(each, str) for each in stored):
        stored = [f"class {i}" for i in range(count)]
    if len(stored) != count or not 1 <= count <= MAX_CLASSES:
        raise CheckpointError(f"the head has {count} classes and the file names {len(stored)}; it is not for detection")
    return tuple(each[:64] for each in stored)


def _side(content: Mapping[str, Any]) -> int:
    arguments = content.get("train_args")
    side = arguments.get("imgsz") if isinstance(arguments, Mapping) else None
    return side if isinstance(side, int) and 32 <= side <= 2048 and side % 32 == 0 else 640
