"""Checkpoints of classifiers, in the shapes that training loops leave them in."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from cli.models import app
from modelkit.importing.classifier import create
from modelkit.importing.insightface import IResNet
from modelkit.networks.arcface import ArcFace, Backbone
from modelkit.networks.mobilenet import FaceMobileNet
from serving.expressions import EXPRESSIONS, Expression
from serving.models.backends import load_backend
from serving.repository.repository import ModelRepository, StoredModel

pytestmark = pytest.mark.toolchain

ARCH = "resnet18"
SMALLEST = "test_resnet"
"""Of timm's, for where the size of a network makes no difference."""
FER = "angry,disgust,fear,happy,sad,surprise,neutral"
ORDER = ("--labels", FER)
SMALL = ("--size", "32")


def network(classes: int = 7, channels: int = 3, arch: str = ARCH) -> Any:
    torch.manual_seed(0)
    return create(arch, classes, channels).eval()


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["import", *(str(each) for each in arguments)])


def published(models: Path, name: str = "efficientnet") -> StoredModel:
    return ModelRepository(models).open(name, "latest")


def answers_like(model: StoredModel, expected: Callable[[torch.Tensor], torch.Tensor]) -> None:
    spec = model.manifest.input
    images = torch.randn(3, spec.channels, spec.height, spec.width)
    with torch.inference_mode():
        wanted = torch.softmax(expected(images), 1).numpy()
    actual = torch.softmax(torch.from_numpy(load_backend(model.file()).run(images.numpy())["logits"]), 1).numpy()
    assert np.abs(actual - wanted).max() < 1e-3


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"state_dict": s, "epoch": 3}, id="state_dict"),
        pytest.param(
            lambda s: {"model_state_dict": s, "optimizer": {"state": {0: torch.ones(3)}}}, id="model_state_dict"
        ),
        pytest.param(lambda s: {f"module.{k}": v for k, v in s.items()}, id="DataParallel"),
        pytest.param(lambda s: {"model": {f"_orig_mod.model.{k}": v for k, v in s.items()}}, id="compiled wrapper"),
        pytest.param(
            lambda s: {f"backbone.{k}" if not k.startswith("fc.") else f"head.1.{k[3:]}": v for k, v in s.items()},
            id="other head name",
        ),
        pytest.param(
            lambda s: {"net": s, "best": np.float64(0.7), "args": Namespace(lr=0.1), "log": defaultdict(list)},
            id="with a training loop's records",
        ),
        pytest.param(lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}, id="half"),
    ],
)
def test_weights_are_found_wherever_they_lie(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    original = network(arch=SMALLEST)
    torch.save(wrap(original.state_dict()), tmp_path / "best.pth")
    result = run(
        "efficientnet", tmp_path / "best.pth", "--arch", SMALLEST, *ORDER, *SMALL, "--models-dir", tmp_path / "m"
    )
    assert result.exit_code == 0, result.output
    answers_like(published(tmp_path / "m"), original)


@pytest.mark.parametrize("wrap", [lambda network: network, lambda network: {"model": network, "epoch": 3}])
def test_a_network_that_was_saved_whole_is_read_as_dead_matter(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    original = network(arch=SMALLEST)
    torch.save(wrap(original), tmp_path / "best.pth")
    result = run(
        "efficientnet", tmp_path / "best.pth", "--arch", SMALLEST, *ORDER, *SMALL, "--models-dir", tmp_path / "m"
    )
    assert result.exit_code == 0, result.output
    assert "kept as empty shells, never run: " in result.stderr
    assert "timm.models.resnet.ResNet" in result.stderr
    answers_like(published(tmp_path / "m"), original)


@pytest.mark.slow
def test_safetensors_grey_input_and_a_guessed_architecture(tmp_path: Path) -> None:
    original = network(channels=1)
    save_file(original.state_dict(), tmp_path / "best.safetensors")
    options = [*ORDER, *SMALL, "--mean", "0.5", "--std", "0.25", "--models-dir", tmp_path / "m", "--json"]
    result = run("efficientnet", tmp_path / "best.safetensors", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["version"] == "1"
    model = published(tmp_path / "m")
    assert (model.manifest.architecture, model.manifest.input.color.value) == (f"timm:{ARCH}", "grey")
    assert (model.manifest.input.mean, model.manifest.input.std) == ((0.5,), (0.25,))
    answers_like(model, original)


def test_labels_keep_their_own_order_and_get_their_meaning(tmp_path: Path) -> None:
    names = ["Anger", "Contempt", "disgusted", "FEAR", "Happiness", "Neutral", "Sad", "Surprise"]
    torch.save({"state_dict": network(8).state_dict(), "class_names": names}, tmp_path / "best.pth")
    result = run("efficientnet", tmp_path / "best.pth", "--arch", ARCH, *SMALL, "--models-dir", tmp_path / "m")
    assert result.exit_code == 0, result.output
    manifest = published(tmp_path / "m").manifest
    assert [label.name for label in manifest.labels] == names
    assert [label.expression for label in manifest.labels] == [EXPRESSIONS[0], None, *EXPRESSIONS[1:]]
    assert "Left out, the others renormalised: Contempt." in manifest.description
    mapped = ["--map", "Contempt=disgust", "--map", "Sad=none", "--without", "sad"]
    result = run("efficientnet", tmp_path / "best.pth", "--arch", ARCH, *SMALL, *mapped, "--models-dir", tmp_path / "m")
    assert result.exit_code == 0, result.output
    labels = {label.name: label.expression for label in published(tmp_path / "m").manifest.labels}
    assert (labels["Contempt"], labels["Sad"]) == (Expression.DISGUST, None)


def test_a_model_that_does_not_name_its_classes_is_not_guessed_at(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "best.pth")
    result = run("efficientnet", tmp_path / "best.pth", "--arch", ARCH, "--models-dir", tmp_path / "m")
    assert result.exit_code == 1
    assert "--labels" in result.output
    assert not (tmp_path / "m").exists()


def test_judged_on_data_where_there_is_some(tmp_path: Path, data: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "best.pth")
    options = [*ORDER, *SMALL, "--data", data, "--models-dir", tmp_path / "m"]
    assert run("efficientnet", tmp_path / "best.pth", "--arch", ARCH, *options).exit_code == 0
    evaluation = published(tmp_path / "m").manifest.evaluation["public_test"]
    assert evaluation["n"] == 35
    assert 0 <= evaluation["accuracy"] <= 1


def test_arcface_of_ferrys_own_shape(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = ArcFace(Backbone((8, 8, 16, 16), (1, 2, 1, 1), 48, 0.0), 7, 16.0).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in original.state_dict().items()}}, tmp_path / "best.pth")
    result = run("arcface", tmp_path / "best.pth", *ORDER, "--models-dir", tmp_path / "m")
    assert result.exit_code == 0, result.output
    model = published(tmp_path / "m", "arcface")
    assert (model.manifest.architecture, model.manifest.input.width) == ("iresnet", 48)
    assert model.manifest.output.embedding == "embedding"
    answers_like(model, lambda images: original(images)[0])


def test_arcface_on_ferrys_own_mobilenet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = ArcFace(FaceMobileNet(0.0), 7, 16.0)
    original.train()(torch.randn(8, 1, 96, 96))  # statistics of its own in every normalisation
    original.eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in original.state_dict().items()}}, tmp_path / "best.pth")
    result = run("arcface", tmp_path / "best.pth", *ORDER, "--models-dir", tmp_path / "m")
    assert result.exit_code == 0, result.output
    model = published(tmp_path / "m", "arcface")
    assert (model.manifest.architecture, model.manifest.input.width) == ("face-mobilenet", 96)
    answers_like(model, lambda images: original(images)[0])


@pytest.mark.slow
@pytest.mark.parametrize("head", ["cosine", "transposed cosine", "linear"])
def test_arcface_around_a_timm_backbone(tmp_path: Path, head: str) -> None:
    torch.manual_seed(0)
    backbone = create(ARCH, 0, 3).eval()
    embed, norm, centres = nn.Linear(512, 64), nn.BatchNorm1d(64).eval(), torch.randn(7, 64)
    bias = torch.randn(7)
    state = {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
    state |= {f"embedding.{k}": v for k, v in embed.state_dict().items()}
    state |= {f"bn.{k}": v for k, v in norm.state_dict().items()}
    state |= {"head.weight": centres.T.contiguous() if head == "transposed cosine" else centres}
    state |= {"head.bias": bias} if head == "linear" else {}
    torch.save({"state_dict": state}, tmp_path / "best.pth")
    options = ["--arch", ARCH, "--scale", "8", *ORDER, *SMALL, "--models-dir", tmp_path / "m"]
    result = run("arcface", tmp_path / "best.pth", *options)
    assert result.exit_code == 0, result.output

    def expected(images: torch.Tensor) -> torch.Tensor:
        features = norm(embed(backbone(images)))
        if head == "linear":
            return features @ centres.T + bias
        normalize = nn.functional.normalize
        return 8 * normalize(features) @ normalize(centres).T

    answers_like(published(tmp_path / "m", "arcface"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("one_dictionary", [True, False])
def test_arcface_as_insightface_names_it(tmp_path: Path, one_dictionary: bool) -> None:
    torch.manual_seed(0)
    backbone, centres = IResNet((8, 8, 8, 16, 16), (1, 2, 1, 1), 3, 32).eval(), torch.randn(7, 32)
    state = backbone.state_dict()
    wrapped = {f"module.backbone.{k}": v for k, v in state.items()} | {"module.fc.weight": centres}
    halves = {"state_dict_backbone": state, "state_dict_softmax_fc": {"weight": centres}, "state_optimizer": {0: state}}
    torch.save({"state_dict": wrapped} if one_dictionary else halves, tmp_path / "best.pth")
    result = run("arcface", tmp_path / "best.pth", *ORDER, "--scale", "8", "--models-dir", tmp_path / "m")
    assert result.exit_code == 0, result.output
    model = published(tmp_path / "m", "arcface")
    assert (model.manifest.architecture, model.manifest.input.width) == ("arcface:iresnet", 48)
    assert (model.manifest.input.color.value, model.manifest.input.mean) == ("rgb", (0.5, 0.5, 0.5))
    assert model.manifest.output.embedding == "embedding"
    normalize = nn.functional.normalize
    answers_like(model, lambda images: 8 * normalize(backbone(images)) @ normalize(centres).T)


def test_a_side_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    state = IResNet((8, 8, 8, 16, 16), (1, 1, 1, 1), 3, 32).state_dict() | {"head.weight": torch.ones(7, 32)}
    torch.save(state, tmp_path / "best.pth")
    result = run("arcface", tmp_path / "best.pth", *ORDER, "--size", "64", "--models-dir", tmp_path / "m")
    assert result.exit_code == 1
    assert "takes no pictures of 64 px" in result.output
    assert not (tmp_path / "m").exists()


def test_insightfaces_network_without_class_weights_knows_no_expressions(tmp_path: Path) -> None:
    torch.save(IResNet((8, 8, 8, 16, 16), (1, 1, 1, 1), 3, 32).state_dict(), tmp_path / "best.pth")
    result = run("arcface", tmp_path / "best.pth", *ORDER, "--models-dir", tmp_path / "m")
    assert result.exit_code == 1
    assert "no single matrix of class weights over 32 numbers" in result.output


def test_another_architecture_is_named_with_what_does_not_fit(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "best.pth")
    result = run("efficientnet", tmp_path / "best.pth", "--arch", "resnet26", *ORDER, "--models-dir", tmp_path / "m")
    assert result.exit_code == 1
    assert "--arch" in result.output
    torch.save({k: v for k, v in network().state_dict().items() if "layer4.1" not in k}, tmp_path / "part.pth")
    result = run("efficientnet", tmp_path / "part.pth", "--arch", ARCH, *ORDER, "--models-dir", tmp_path / "m")
    assert result.exit_code == 1
    assert "layer4.1.conv1.weight" in result.output
    assert not (tmp_path / "m").exists()
