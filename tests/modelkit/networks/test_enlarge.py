"""A larger network that starts from a smaller one's weights computes the smaller one's features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modelkit.networks.architectures import build
from modelkit.networks.enlarge import enlarge, is_lite

pytestmark = pytest.mark.toolchain

OPTIONS = {"act_layer": "relu6"}
DEPTHS = (1, 2, 2, 3, 3, 4, 1)
PUBLISHED = {"bn1": "bn0", "conv_head": "conv_head", "bn2": "bn1"}


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    torch.manual_seed(0)
    network = build("timm:tf_efficientnet_lite0", 7, 48, {})
    network.train()(torch.rand(16, 1, 48, 48))  # statistics of its own in every normalisation
    return network.eval()


def published_names(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of timm's Lite0 in the names of the published weights, with a colour stem."""
    tensors, renamed, block = network.model.state_dict(), {}, 0
    for name, value in tensors.items():
        head, _, rest = name.partition(".")
        if head == "conv_stem":
            renamed[f"_conv_stem.{rest}"] = value.repeat(1, 3, 1, 1) / 3
        elif head in PUBLISHED:
            renamed[f"_{PUBLISHED[head]}.{rest}"] = value
    for stage, depth in enumerate(DEPTHS):
        layers = (
            {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
            if stage == 0
            else {
                "conv_pw": "_expand_conv",
                "bn1": "_bn0",
                "conv_dw": "_depthwise_conv",
                "bn2": "_bn1",
                "conv_pwl": "_project_conv",
                "bn3": "_bn2",
            }
        )
        for index in range(depth):
            for name, value in tensors.items():
                prefix = f"blocks.{stage}.{index}."
                if name.startswith(prefix):
                    layer, _, kind = name.removeprefix(prefix).partition(".")
                    renamed[f"_blocks.{block}.{layers[layer]}.{kind}"] = value
            block += 1
    return renamed


@pytest.mark.slow
def test_larger_network_computes_the_features_of_the_smaller(lite: nn.Module) -> None:
    larger = build("timm:tf_efficientnet_b3", 7, 48, OPTIONS)
    smaller = published_names(lite)
    assert is_lite(smaller)
    enlarge(larger.model, smaller)
    images = torch.rand(4, 1, 48, 48)
    with torch.inference_mode():
        expected = lite.model.forward_features(images)
        actual = larger.eval().model.forward_features(images)[:, : expected.shape[1]]
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_new_channels_learn(lite: nn.Module) -> None:
    larger = build("timm:tf_efficientnet_b3", 7, 48, OPTIONS)
    enlarge(larger.model, published_names(lite))
    nn.init.normal_(larger.model.classifier.weight)
    larger.training_logits(torch.rand(8, 1, 48, 48), torch.zeros(8, 7), 0.0).square().sum().backward()
    new_block = larger.model.get_parameter("blocks.0.1.bn2.weight")
    gate = larger.model.get_parameter("blocks.1.0.se.conv_expand.weight")
    assert new_block.grad is not None
    assert new_block.grad.abs().sum() > 0
    assert gate.grad is not None
    assert gate.grad.abs().sum() > 0


def test_weights_of_another_network_are_refused(lite: nn.Module) -> None:
    larger = build("timm:tf_efficientnet_b3", 7, 48, OPTIONS)
    with pytest.raises(ValueError, match="not the weights of EfficientNet-Lite"):
        enlarge(larger.model, {"conv1.weight": torch.zeros(1)})


def test_network_without_room_is_refused(lite: nn.Module) -> None:
    narrow = build("timm:resnet18", 7, 48, {})
    with pytest.raises(ValueError, match="no room for _conv_stem"):
        enlarge(narrow.model, published_names(lite))
