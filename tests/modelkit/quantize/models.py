"""Models with real layers, made on the spot, that recognise the patterns of `tests.modelkit.pictures`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelkit.graphs.half_weights import store_as_half
from serving.repository.manifest import Color, InputSpec, Manifest
from serving.repository.repository import ModelRepository, StoredModel
from tests.tiny_models import FACE, classifier_manifest, detector_manifest, publish

CHANNELS = 4
Ferry = Callable[..., str]
"""Runs a command of `ferry models`; what it prints."""


def classifier(convolutions: int, poison: float = 0.0) -> bytes:
    """Convolutions that pass the picture on, then a linear layer that compares it with each pattern.

    Args:
        convolutions: how many; their names are `conv0` and so on, the linear layer's is `linear`.
        poison: value that the last convolution puts into a channel that the linear layer does not look at. A large one
            leaves eight bits no room for the picture.
    """
    rng = np.random.default_rng(0)
    nodes, weights, name = [], [], "images"
    for i in range(convolutions):
        filters = rng.normal(0, 1e-3, (CHANNELS, 1 if i == 0 else CHANNELS, 5, 5)).astype(np.float32)
        filters[0, 0, 2, 2] = 1
        bias = np.zeros(CHANNELS, np.float32)
        bias[-1] = poison if i == convolutions - 1 else 0
        weights += [numpy_helper.from_array(filters, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        nodes.append(helper.make_node("Conv", [name, f"w{i}", f"b{i}"], [f"x{i}"], name=f"conv{i}", pads=[2] * 4))
        name = f"x{i}"
    y, x = np.mgrid[:48, :48] / 48
    looks = np.zeros((CHANNELS, 48, 48, 7), np.float32)
    for k in range(7):
        looks[0, :, :, k] = np.sin(2 * np.pi * (np.cos(k) * x + np.sin(k) * y) * 3) / 200
    weights.append(numpy_helper.from_array(looks.reshape(-1, 7), "look"))
    nodes.append(helper.make_node("Flatten", [name], ["flat"], name="flatten"))
    nodes.append(helper.make_node("MatMul", ["flat", "look"], ["logits"], name="linear"))
    return _model(nodes, 1, 48, helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7]), weights)


def detector() -> bytes:
    """A convolution, whose mean is the score of one box at FACE, and no linear layer."""
    filters = np.full((2, 3, 8, 8), 1 / 192, np.float32)
    x1, y1, x2, y2 = FACE
    base, scale = np.zeros((1, 11, 1), np.float32), np.full((1, 11, 1), 0.05, np.float32)
    base[0, :4, 0] = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    scale[0, :4], scale[0, 4] = 0, 1
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["x"], name="conv", strides=[8, 8]),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=1, name="mean"),
        helper.make_node("Squeeze", ["m", "axis"], ["s"], name="squeeze"),
        helper.make_node("Mul", ["s", "scale"], ["scores"], name="score"),
        helper.make_node("Add", ["scores", "base"], ["output0"], name="box"),
    ]
    weights = [
        numpy_helper.from_array(value, name)
        for name, value in {"w": filters, "base": base, "scale": scale, "axis": np.array([3], np.int64)}.items()
    ]
    return _model(nodes, 3, 64, helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 11, 1]), weights)


def publish_classifier(root: Path, graph: bytes) -> StoredModel:
    """Version 1 of `tiny`."""
    spec = InputSpec(name="images", width=48, height=48, color=Color.GREY, mean=(0.5,), std=(0.25,))
    return _publish(root, classifier_manifest(input=spec), graph)


def publish_detector(root: Path, graph: bytes) -> StoredModel:
    """Version 1 of `detector`, which has no opinion on expression."""
    labels = [label.model_copy(update={"expression": None}) for label in detector_manifest().labels]
    return _publish(root, detector_manifest(labels=labels), graph)


def _publish(root: Path, manifest: Manifest, graph: bytes) -> StoredModel:
    publish(root, manifest, graph)
    return ModelRepository(root).open(manifest.name, "1")


def _model(nodes: list[Any], channels: int, side: int, output: Any, weights: list[Any]) -> bytes:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", channels, side, side])
    graph = helper.make_graph(nodes, "tiny", [images], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    store_as_half(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
