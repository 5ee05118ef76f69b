"""The start from a face MobileNet: Ferry's network computes the features of the published one."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modelkit.networks.architectures import build
from modelkit.networks.mobilenet import read_mobilenet
from modelkit.networks.published import start_from_mobilenet

pytestmark = [pytest.mark.toolchain, pytest.mark.usefixtures("one_thread")]

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
MEAN, STD, SIZE = 0.459, 0.25, 64

Weights = dict[str, npt.NDArray[np.float32]]


def weights() -> Weights:
    """Named and shaped as the published file has them (TensorFlow's order: k, k, in, out)."""
    rng = np.random.default_rng(3)

    def normal(*shape: int, spread: float) -> npt.NDArray[np.float32]:
        return (rng.standard_normal(shape) * spread).astype(np.float16).astype(np.float32)

    named = {"conv1/convolution/merged_input": normal(3, 3, 3, 32, spread=0.003)}
    named["conv1_bn/batchnorm_1/sub"] = normal(32, spread=0.3)
    for block, (inputs, outputs) in enumerate(pairwise(CHANNELS), 1):
        named[f"conv_dw_{block}/depthwise_kernel"] = normal(3, 3, inputs, 1, spread=0.5)
        named[f"conv_dw_{block}_bn/batchnorm_1/mul"] = 1 + normal(inputs, spread=0.1)
        named[f"conv_dw_{block}_bn/batchnorm_1/sub"] = normal(inputs, spread=0.3)
        named[f"conv_pw_{block}/convolution/merged_input"] = normal(1, 1, inputs, outputs, spread=inputs**-0.5)
        named[f"conv_pw_{block}_bn/batchnorm_1/sub"] = normal(outputs, spread=0.3)
    return named


def write(folder: Path, named: Weights, dtype: str = "float32") -> Path:
    stored = [
        {"name": name, "shape": list(value.shape), "dtype": "float32"}
        | ({"quantization": {"dtype": dtype, "original_dtype": "float32"}} if dtype != "float32" else {})
        for name, value in named.items()
    ]
    (folder / "faceres.bin").write_bytes(b"".join(value.astype(dtype).tobytes() for value in named.values()))
    file = folder / "faceres.json"
    file.write_text(json.dumps({"weightsManifest": [{"paths": ["faceres.bin"], "weights": stored}]}))
    return file


def published_features(named: Weights, grey: Tensor) -> Tensor:
    """The published network on grey in [0, 1] fed three times: 0..255 less the mean, "same" padding, ReLU6."""

    def convolve(x: Tensor, kernel: Tensor, stride: int, groups: int) -> Tensor:
        k = kernel.shape[2]
        total = max((-(-x.shape[2] // stride) - 1) * stride + k - x.shape[2], 0)
        before = total // 2
        x = functional.pad(x, (before, total - before, before, total - before))
        return functional.conv2d(x, kernel, stride=stride, groups=groups)

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(named[name])

    def finish(x: Tensor, scale: Tensor | float, shift: Tensor) -> Tensor:
        scale = scale.view(-1, 1, 1) if isinstance(scale, Tensor) else scale
        return (x * scale + shift.view(-1, 1, 1)).clamp(0, 6)

    x = ((grey - MEAN) * 255).repeat(1, 3, 1, 1)
    x = convolve(x, tensor("conv1/convolution/merged_input").permute(3, 2, 0, 1), 2, 1)
    x = finish(x, 1.0, tensor("conv1_bn/batchnorm_1/sub"))
    for block, stride in enumerate(STRIDES, 1):
        norm = f"conv_dw_{block}_bn/batchnorm_1"
        kernel = tensor(f"conv_dw_{block}/depthwise_kernel").permute(2, 3, 0, 1)
        x = finish(convolve(x, kernel, stride, len(kernel)), tensor(f"{norm}/mul"), tensor(f"{norm}/sub"))
        kernel = tensor(f"conv_pw_{block}/convolution/merged_input").permute(3, 2, 0, 1)
        x = finish(convolve(x, kernel, 1, 1), 1.0, tensor(f"conv_pw_{block}_bn/batchnorm_1/sub"))
    return x.mean((2, 3))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_trunk_computes_the_published_features(tmp_path: Path, dtype: str) -> None:
    named = weights()
    network = build("face-mobilenet", 7, SIZE, {})
    grey = torch.rand(16, 1, SIZE, SIZE)
    inputs = (grey - MEAN) / STD
    start_from_mobilenet(network, write(tmp_path, named, dtype), STD, inputs)
    with torch.inference_mode():
        actual = network.eval().get_submodule("backbone.trunk")(inputs)
        expected = published_features(named, grey)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_file_without_a_layer_or_with_too_few_bytes_is_refused(tmp_path: Path) -> None:
    named = weights()
    file = write(tmp_path, named)
    data = (tmp_path / "faceres.bin").read_bytes()
    (tmp_path / "faceres.bin").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"faceres\.json is no TensorFlow\.js graph model with all its weights"):
        read_mobilenet(file, STD)
    del named["conv_pw_7/convolution/merged_input"]
    with pytest.raises(ValueError, match="it lacks the tensor conv_pw_7/convolution/merged_input"):
        read_mobilenet(write(tmp_path, named), STD)
    for text in ("[]", "[" * 5000):
        file.write_text(text)
        with pytest.raises(ValueError, match="no TensorFlow"):
            read_mobilenet(file, STD)


def test_other_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MobileNet 1\.0, which this network is not"):
        start_from_mobilenet(
            build("timm:resnet18", 7, SIZE, {}), write(tmp_path, weights()), STD, torch.randn(2, 1, SIZE, SIZE)
        )
