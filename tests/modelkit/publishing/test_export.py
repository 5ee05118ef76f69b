from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from modelkit.graphs.half_weights import LEAST_HALF
from modelkit.networks.architectures import Symmetric, build
from modelkit.publishing.export import TOLERANCE, export
from modelkit.training.recipes import RECIPES
from serving.models.backends import load_backend

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "architecture", ["iresnet", "face-mobilenet", pytest.param("timm:efficientnet_b0", marks=pytest.mark.slow)]
)
def test_backends_answer_as_pytorch_does(architecture: str, backend: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1]} if architecture == "iresnet" else {}
    network = build(architecture, 7, 48, options)
    # Weights a little away from their initial values; the statistics of the norms too.
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value), alpha=0.05)
    network = network if architecture.startswith("timm:") else Symmetric(network)
    network.eval()
    has_embedding = export(network, tmp_path / "model.onnx", 48)
    assert has_embedding == (not architecture.startswith("timm:"))
    loaded = load_backend(tmp_path / "model.onnx", backend=backend)
    for rows in (1, 3):
        images = torch.randn(rows, 1, 48, 48)
        with torch.inference_mode():
            logits, embedding = network(images)
        outputs = loaded.run(images.numpy())
        actual = torch.softmax(torch.from_numpy(outputs["logits"]), dim=1)
        assert (actual - torch.softmax(logits, dim=1)).abs().max() <= TOLERANCE
        if embedding is not None:
            np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, atol=1e-5)
            np.testing.assert_allclose(outputs["embedding"], embedding.numpy(), atol=2e-3)


def test_weights_are_stored_as_half_precision(tmp_path: Path) -> None:
    network = build(RECIPES["arcface"].architecture, 7, 48, RECIPES["arcface"].options)
    numbers = [value.numel() for value in network.parameters()]
    export(network, tmp_path / "model.onnx", 48)
    stored = sum(n * (2 if n >= LEAST_HALF else 4) for n in numbers)
    assert (tmp_path / "model.onnx").stat().st_size < 1.01 * stored  # the graph itself is a hundredth at most
    graph = onnx.load(tmp_path / "model.onnx").graph
    large = {tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) >= LEAST_HALF}
    assert large == {onnx.TensorProto.FLOAT16}
