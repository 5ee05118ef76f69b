"""Model repositories of a few hundred bytes, whose answers can be computed by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelkit.graphs.take_bytes import take_bytes
from serving.expressions import EXPRESSIONS
from serving.repository.manifest import (
    Activation,
    Color,
    DetectionSpec,
    InputSpec,
    Label,
    Manifest,
    OutputSpec,
    ScoreRule,
    Task,
)

SIDE = 16
DETECTOR_SIDE = 64
WIDE = 1024
LABELS = tuple(Label(name=e.value, expression=e) for e in EXPRESSIONS)
FACE = (16.0, 8.0, 48.0, 40.0)
"""The box that the tiny detector finds in bright images, x1, y1, x2, y2 in pixels of its input."""


def classifier_graph(
    slope: Sequence[float] = (0, 0, 0, 4, 0, 0, 0),
    side: int = SIDE,
    embedding: bool = False,
    rows: int | str = "batch",
    idle_products: int = 0,
) -> bytes:
    """logits = slope * mean brightness of the grey input; embedding = (brightness, 1), normalised.

    idle_products: products of WIDE x WIDE, 0.05 to 0.5 ms each, that change nothing: a run that takes its time.
    """
    k = len(slope)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["brightness"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["brightness", "slope"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(np.array([slope], np.float32), "slope")]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, k])]
    if idle_products:
        nodes[:1] = _idle(idle_products)
        constants += [
            numpy_helper.from_array(np.array([WIDE, WIDE], np.int64), "wide"),
            numpy_helper.from_array(np.array([1, WIDE], np.int64), "row"),
        ]
    if embedding:
        nodes += [
            helper.make_node("MatMul", ["brightness", "first"], ["scaled"]),
            helper.make_node("Add", ["scaled", "second"], ["vector"]),
            helper.make_node("LpNormalization", ["vector"], ["embedding"], axis=1, p=2),
        ]
        constants += [
            numpy_helper.from_array(np.array([[1, 0]], np.float32), "first"),
            numpy_helper.from_array(np.array([[0, 1]], np.float32), "second"),
        ]
        outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [rows, 2]))
    return _model(nodes, [rows, 1, side, side], outputs, constants)


def _idle(products: int) -> list[Any]:
    """The mean brightness of a row, repeated WIDE times, through `products` means of itself."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node(
            "ConstantOfShape", ["row"], ["ones"], value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1])
        ),
        helper.make_node(
            "ConstantOfShape",
            ["wide"],
            ["shares"],
            value=helper.make_tensor("share", TensorProto.FLOAT, [1], [1 / WIDE]),
        ),
        helper.make_node("MatMul", ["mean", "ones"], ["mixed_0"]),
    ]
    nodes += [
        helper.make_node("MatMul", [f"mixed_{index}", "shares"], [f"mixed_{index + 1}"]) for index in range(products)
    ]
    nodes.append(helper.make_node("ReduceMean", [f"mixed_{products}"], ["brightness"], axes=[1], keepdims=1))
    return nodes


def detector_graph(side: int = DETECTOR_SIDE, labels: int = 7) -> bytes:
    """One anchor at FACE whose first label scores the image's mean brightness, the others a twentieth of it."""
    x1, y1, x2, y2 = FACE
    base = np.zeros((1, 4 + labels, 1), np.float32)
    base[0, :4, 0] = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    scale = np.zeros_like(base)
    scale[0, 4:, 0] = 0.05
    scale[0, 4, 0] = 1
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["per_image"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["per_image", "axis"], ["brightness"]),
        helper.make_node("Mul", ["brightness", "scale"], ["scores"]),
        helper.make_node("Add", ["scores", "base"], ["output0"]),
    ]
    constants = [
        numpy_helper.from_array(base, "base"),
        numpy_helper.from_array(scale, "scale"),
        numpy_helper.from_array(np.array([3], np.int64), "axis"),
    ]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 4 + labels, 1])]
    return _model(nodes, ["batch", 3, side, side], outputs, constants)


def bytes_graph(graph: bytes, mean: Sequence[float], std: Sequence[float], *, free: bool = False) -> bytes:
    """A graph that takes bytes in place of floats; free: of any width and height."""
    model = onnx.load_from_string(graph)
    if free:
        for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
            axis.dim_param = name
    take_bytes(model, mean, std)
    return bytes(model.SerializeToString())


def _model(nodes: list[Any], shape: list[int | str], outputs: list[Any], constants: list[Any]) -> bytes:
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "tiny", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def classifier_manifest(name: str = "tiny", version: str = "1", **changes: Any) -> Manifest:
    """Grey SIDE x SIDE in, seven logits out."""
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "task": Task.CLASSIFY,
        "architecture": "mean brightness",
        "input": InputSpec(name="images", width=SIDE, height=SIDE, color=Color.GREY, mean=(0,), std=(1,)),
        "labels": LABELS,
        "output": OutputSpec(scores="logits", activation=Activation.SOFTMAX),
        "files": {"model.onnx": "0" * 64},
    }
    return Manifest(**(fields | changes))


def detector_manifest(name: str = "detector", version: str = "1", **changes: Any) -> Manifest:
    """RGB DETECTOR_SIDE x DETECTOR_SIDE in, one anchor out."""
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "task": Task.DETECT,
        "architecture": "mean brightness",
        "input": InputSpec(
            name="images",
            width=DETECTOR_SIDE,
            height=DETECTOR_SIDE,
            color=Color.RGB,
            mean=(0, 0, 0),
            std=(1, 1, 1),
        ),
        "labels": LABELS,
        "output": OutputSpec(scores="output0", activation=Activation.NONE),
        "detection": DetectionSpec(score_rule=ScoreRule.MAX, score_threshold=0.6, iou_threshold=0.5),
        "files": {"model.onnx": "0" * 64},
    }
    return Manifest(**(fields | changes))


def publish(root: Path, manifest: Manifest, graph: bytes) -> Path:
    """Writes a version with the right digest; the manifest last, as publishing does. Returns its directory."""
    directory = root / manifest.name / manifest.version
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(graph)
    complete = manifest.model_copy(update={"files": {"model.onnx": hashlib.sha256(graph).hexdigest()}})
    (directory / "manifest.json").write_text(complete.to_json())
    return directory


def add_variant(directory: Path, graph: bytes, backends: Sequence[str], variant: str = "int8") -> None:
    """Adds a variant to a version that `publish` wrote; it passed its gate on these backends."""
    manifest, file = Manifest.read(directory), f"model.{variant}.onnx"
    (directory / file).write_bytes(graph)
    changes = {
        "files": manifest.files | {file: hashlib.sha256(graph).hexdigest()},
        "variants": manifest.variants | {variant: file},
        "variant_backends": {variant: tuple(backends)},
    }
    (directory / "manifest.json").write_text(manifest.model_copy(update=changes).to_json())


def softmax(logits: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The reference, in double precision."""
    powers = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    shares: np.ndarray[Any, np.dtype[np.float64]] = powers / powers.sum()
    return shares
