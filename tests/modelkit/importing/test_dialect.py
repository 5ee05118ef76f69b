"""EfficientNets under the names of other libraries. Both were compared with the libraries' own networks by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from modelkit.importing.classifier import create, import_classifier
from modelkit.importing.dialect import as_timm
from modelkit.importing.errors import CheckpointError

pytestmark = pytest.mark.toolchain

SEPARABLE = ("conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")
INVERTED = ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3")


def torchvision(stage: int, index: int, _: int, part: str) -> str:
    inner = {
        SEPARABLE: ("0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"),
        INVERTED: ("0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"),
    }
    parts = INVERTED if stage else SEPARABLE
    return f"features.{stage + 1}.{index}.block.{inner[parts][parts.index(part)]}"


def efficientnet_pytorch(stage: int, _: int, number: int, part: str) -> str:
    inner = {
        SEPARABLE: ("_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2"),
        INVERTED: (
            *("_expand_conv", "_bn0", "_depthwise_conv", "_bn1"),
            *("_se_reduce", "_se_expand", "_project_conv", "_bn2"),
        ),
    }
    parts = INVERTED if stage else SEPARABLE
    return f"_blocks.{number}.{inner[parts][parts.index(part)]}"


TORCHVISION = {
    "conv_stem": "features.0.0",
    "bn1": "features.0.1",
    "conv_head": "features.8.0",
    "bn2": "features.8.1",
    "classifier": "classifier.1",
}
LUKEMELAS = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}

CASES = [
    pytest.param("efficientnet_b0", TORCHVISION, torchvision, id="torchvision"),
    pytest.param("tf_efficientnet_b0", LUKEMELAS, efficientnet_pytorch, id="efficientnet_pytorch"),
]


def renamed(state: dict[str, Tensor], outside: dict[str, str], inside: Callable[..., str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    blocks: list[str] = []
    for name, tensor in state.items():
        module, leaf = name.rsplit(".", 1)
        if match := re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.*)", module):
            block = f"{match[1]}.{match[2]}"
            blocks += [block] if block not in blocks else []
            module = inside(int(match[1]), int(match[2]), blocks.index(block), match[3])
        else:
            module = outside[module]
        found[f"module.{module}.{leaf}"] = tensor
    return found


def network(architecture: str, channels: int = 3) -> Any:
    torch.manual_seed(0)
    model = create(architecture, 7, channels)
    with torch.no_grad():
        model.train()(torch.randn(4, channels, 64, 64))  # statistics of its own in every normalisation
    return model.eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("architecture", "outside", "inside"), CASES)
def test_the_network_answers_the_same(
    architecture: str, outside: dict[str, str], inside: Callable[..., str], channels: int
) -> None:
    original = network(architecture, channels)
    theirs = renamed(original.state_dict(), outside, inside)
    assert not set(theirs) & set(original.state_dict())
    imported = import_classifier(dict(reversed(theirs.items())), None)
    assert (imported.architecture, imported.channels) == (f"timm:{architecture}", channels)
    images = torch.randn(2, channels, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(imported.network.eval()(images)[0], original(images))


@pytest.mark.parametrize(("architecture", "outside", "inside"), CASES)
def test_another_architecture_is_refused_by_the_right_name(
    architecture: str, outside: dict[str, str], inside: Callable[..., str]
) -> None:
    theirs = renamed(create(architecture, 7, 3).state_dict(), outside, inside)
    with pytest.raises(CheckpointError, match=f"pass --arch {architecture}"):
        import_classifier(theirs, "efficientnet_b3")


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "outside", "inside"), CASES)
def test_half_a_network_keeps_its_names(architecture: str, outside: dict[str, str], inside: Callable[..., str]) -> None:
    theirs = renamed(create(architecture, 7, 3).state_dict(), outside, inside)
    half = dict(list(theirs.items())[: len(theirs) // 2])
    assert as_timm(half) == (half, None)
