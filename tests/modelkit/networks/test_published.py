"""Training on from a published file: the network answers as the file does, and can learn again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from modelkit.networks.architectures import Symmetric, build
from modelkit.networks.published import restore
from modelkit.publishing.export import export
from modelkit.training.heads import Joined, Joint
from serving.models.backends import load_backend
from serving.models.tuning import probe
from serving.repository.repository import ModelRepository

pytestmark = [pytest.mark.toolchain, pytest.mark.usefixtures("one_thread")]

SIZE = 48


IRESNET = {"widths": [8, 8, 16, 16], "depths": [1, 2, 1, 1]}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        pytest.param("timm:efficientnet_b0", {}, marks=pytest.mark.slow),
        pytest.param("timm:tf_efficientnet_b0", {"act_layer": "relu6"}, marks=pytest.mark.slow),
        pytest.param("iresnet", IRESNET, marks=pytest.mark.slow),
        ("face-mobilenet", {}),
    ],
)
def test_restored_network_answers_as_the_published_file(
    tmp_path: Path, mirrored: bool, architecture: str, options: dict[str, object]
) -> None:
    torch.manual_seed(0)
    network = build(architecture, 7, SIZE, options)
    images = torch.randn(32, 1, SIZE, SIZE)
    network.train()(images)  # statistics of its own in every normalisation
    export(Symmetric(network) if mirrored else network, tmp_path / "model.onnx", SIZE)
    expected = torch.softmax(torch.from_numpy(load_backend(tmp_path / "model.onnx").run(images.numpy())["logits"]), 1)

    restored = build(architecture, 7, SIZE, options)
    restore(restored, tmp_path / "model.onnx", images)
    answering = (Symmetric(restored) if mirrored else restored).eval()
    with torch.inference_mode():
        actual = torch.softmax(answering(images)[0], 1)
    assert (actual - expected).abs().max() < 5e-3
    norms = [layer for layer in restored.modules() if isinstance(layer, nn.BatchNorm2d)]
    spread = torch.cat([layer.running_var for layer in norms])
    assert (spread >= 0).all()


@pytest.mark.parametrize("name", ["efficientnet", "arcface"])
def test_ferrys_own_models_can_be_trained_on_from_their_files(name: str) -> None:
    stored = ModelRepository(Path(__file__).parents[3] / "models").open(name, "stable")
    recipe = stored.manifest.training["recipe"]
    rows = probe(stored.manifest.input, 16)
    expected = torch.from_numpy(load_backend(stored.file()).run(rows)["logits"])
    answers = len(stored.manifest.labels) * recipe.get("heads", 1)
    restored = build(recipe["architecture"], answers, recipe["input_size"], recipe["options"])
    restore(restored, stored.file(), torch.from_numpy(rows))
    answering = Symmetric(restored) if recipe["symmetric"] else restored
    if joint := stored.manifest.training.get("joint"):
        answering = Joined(answering, Joint(**joint))
    answering.eval()
    with torch.inference_mode():
        actual = answering(torch.from_numpy(rows))[0]
    assert (torch.softmax(actual, 1) - torch.softmax(expected, 1)).abs().max() < 5e-3


@pytest.mark.slow
def test_file_of_another_network_is_refused(tmp_path: Path) -> None:
    export(build("timm:efficientnet_b0", 7, SIZE, {}), tmp_path / "model.onnx", SIZE)
    with pytest.raises(ValueError, match="layers that are not"):
        restore(build("timm:resnet18", 7, SIZE, {}), tmp_path / "model.onnx", torch.randn(4, 1, SIZE, SIZE))


def test_arcface_of_other_widths_is_refused(tmp_path: Path) -> None:
    export(build("iresnet", 7, SIZE, IRESNET), tmp_path / "model.onnx", SIZE)
    other = build("iresnet", 7, SIZE, IRESNET | {"widths": [8, 8, 16, 32]})
    with pytest.raises(ValueError, match="convolutions that are not"):
        restore(other, tmp_path / "model.onnx", torch.randn(4, 1, SIZE, SIZE))


def test_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="safetensors"):
        restore(nn.Linear(1, 1), tmp_path / "model.onnx", torch.randn(4, 1, SIZE, SIZE))
