"""Turns a trained classifier into `model.onnx`: any batch, named outputs, simplified, weights stored as float16."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from modelkit.graphs.half_weights import LEAST_HALF, store_as_half
from modelkit.graphs.simplify import simplify
from modelkit.graphs.trace import trace_to_onnx
from modelkit.publishing.parity import TOLERANCE, ExportError
from modelkit.training.manifests import EMBEDDING, INPUT, LOGITS
from serving.activation import softmax

OPSET = 20
"""The newest that the exporter by tracing writes."""


class _LogitsOnly(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return cast("Tensor", self.network(images)[0])


def export(network: nn.Module, path: Path, size: int, channels: int = 1, least_half: int = LEAST_HALF) -> bool:
    """Writes `images` [N, channels, size, size] to `logits` [N, classes] and, if there is one, `embedding` [N, D].

    Args:
        network: answers `(logits, embedding or None)`; it is left as it was.
        path: the file to write.
        size: side of the input in pixels.
        channels: of the input, 1 or 3.
        least_half: weights of fewer numbers stay float32.

    Returns:
        Whether there is an embedding.

    Raises:
        ExportError: probabilities differ from PyTorch's by more than `TOLERANCE` on noise; see
            `modelkit.publishing.parity` for pictures.
    """
    network = copy.deepcopy(network).float().cpu().eval()
    example = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, embedding = network(example)
    outputs = [LOGITS] if embedding is None else [LOGITS, EMBEDDING]
    traced = _LogitsOnly(network) if embedding is None else network
    trace_to_onnx(traced, example, path, axes={name: {0: "batch"} for name in (INPUT, *outputs)}, opset=OPSET)
    simplify(path)
    model = onnx.load(str(path))
    store_as_half(model, least=least_half)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    difference = _difference(path, example.numpy(), logits.numpy())
    if difference > TOLERANCE:
        raise ExportError(f"{path}: probabilities differ from PyTorch's by {difference:.2g}, more than {TOLERANCE}")
    return embedding is not None


def _difference(path: Path, images: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    from serving.models.backends import load_backend

    actual = load_backend(path).run(images)[LOGITS]
    return float(np.abs(softmax(actual) - softmax(expected)).max())
