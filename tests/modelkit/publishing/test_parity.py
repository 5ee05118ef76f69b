"""An export that answers otherwise than the trained network is refused, whatever kind of model it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn
from typer.testing import CliRunner

from cli.models import app
from modelkit.detector.export import input_spec as detector_input
from modelkit.graphs.simplify import simplify
from modelkit.publishing.parity import ExportError, check_classifier, check_detector, stand_ins
from serving.models.backends import load_backend
from serving.repository.manifest import Color, InputSpec
from serving.repository.repository import ModelRepository
from tests.modelkit.importing.test_yolo import saved
from tests.modelkit.pictures import crops
from tests.tiny_models import DETECTOR_SIDE, SIDE, bytes_graph, classifier_graph, detector_graph

pytestmark = [pytest.mark.toolchain, pytest.mark.usefixtures("one_thread")]

SPEC = InputSpec(name="images", width=SIDE, height=SIDE, color=Color.GREY, mean=(0,), std=(1,))
SLOPE = (0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0)


class Brightness(nn.Module):
    """What `classifier_graph` computes, with something added to each logit."""

    def __init__(self, added: float = 0) -> None:
        super().__init__()
        self.slope, self.added = torch.tensor([SLOPE]), torch.eye(7)[0] * added

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        return images.mean((2, 3)) @ self.slope + self.added, None


def colour(count: int) -> list[npt.NDArray[np.uint8]]:
    images, _ = crops(-(-count // 7), seed=5)
    return list(np.repeat(images[:count, :, :, None], 3, axis=3))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(classifier_graph(SLOPE))
    return tmp_path / "model.onnx"


def test_an_export_that_answers_alike_is_told_so(exported: Path) -> None:
    parity = check_classifier(Brightness(), exported, SPEC, colour(20))
    assert (parity.pictures, parity.same_first, parity.ties) == (20, 1, 0)
    assert parity.max_difference < 1e-5
    assert "on 20 pictures" in str(parity)
    assert "100.00% have the same first class" in str(parity)


def test_a_small_difference_passes_and_a_larger_one_does_not(exported: Path) -> None:
    assert 0 < check_classifier(Brightness(0.002), exported, SPEC, colour(5)).max_difference < 1e-3
    with pytest.raises(ExportError, match=r"model\.onnx: .* more than 0\.001 is not allowed"):
        check_classifier(Brightness(0.1), exported, SPEC, colour(5))


def test_another_first_class_is_noticed_even_where_probabilities_hardly_differ(tmp_path: Path) -> None:
    """Two classes lead together; the file prefers the other one by a hair."""
    network = Brightness()
    network.slope = torch.tensor([[0.0, 0, 0, 4, 4, 0, 0]])
    (tmp_path / "model.onnx").write_bytes(classifier_graph((0, 0, 0, 4, 4.0005, 0, 0)))
    few = check_classifier(network, tmp_path / "model.onnx", SPEC, colour(20))
    assert (few.same_first, few.ties) == (0, 20)
    with pytest.raises(ExportError, match=r"0\.00% have the same first class; at least 99\.9%"):
        check_classifier(network, tmp_path / "model.onnx", SPEC, colour(1000))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_answer(tmp_path: Path, value: float) -> None:
    (tmp_path / "model.onnx").write_bytes(classifier_graph((value,) * 7))
    with pytest.raises(ExportError, match="is not allowed"):
        check_classifier(Brightness(), tmp_path / "model.onnx", SPEC, colour(3))


def test_no_picture_proves_nothing(exported: Path) -> None:
    with pytest.raises(ExportError, match="on no picture"):
        check_classifier(Brightness(), exported, SPEC, [])


class Box(nn.Module):
    """What `detector_graph` computes, one class more or less sure."""

    def __init__(self, added: float = 0) -> None:
        super().__init__()
        self.added = added

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        brightness = images.mean((1, 2, 3)).reshape(-1, 1, 1)
        scores = torch.cat([brightness, brightness.expand(-1, 6, -1) * 0.05], 1)
        scores[:, 6] += self.added
        return torch.cat([torch.zeros(len(images), 4, 1), scores], 1), []


def test_detectors_are_held_to_the_same_on_photos_of_any_size(tmp_path: Path) -> None:
    spec, photos = detector_input(DETECTOR_SIDE), stand_ins()
    (tmp_path / "model.onnx").write_bytes(bytes_graph(detector_graph(), spec.mean, spec.std, free=True))
    parity = check_detector(Box(), tmp_path / "model.onnx", spec, photos)
    assert (parity.pictures, parity.same_first) == (len(photos), 1)
    with pytest.raises(ExportError, match="is not allowed"):
        check_detector(Box(0.01), tmp_path / "model.onnx", spec, photos)


def test_the_stand_ins_are_many_and_differ() -> None:
    parts = stand_ins()
    assert len(parts) > 20
    assert len({part.tobytes() for part in parts}) == len(parts)
    assert {part.ndim for part in parts} == {3}


def test_an_imported_detector_says_how_it_compares(tmp_path: Path) -> None:
    saved(tmp_path / "best.pt", "yolo11n", ["Anger", "Happy"])
    arguments = ["import", "detector", str(tmp_path / "best.pt"), "--models-dir", str(tmp_path / "m")]
    arguments += ["--without", "disgust,fear,neutral,sad,surprised"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    stored = ModelRepository(tmp_path / "m").open("detector", "1")
    parity = stored.manifest.training["parity"]
    assert parity["pictures"] == len(stand_ins())
    assert parity["max_difference"] <= 1e-3
    model = onnx.load(stored.file())
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)} == {
        "batch"
    }
    assert "Constant" not in {node.op_type for node in model.graph.node}


def test_an_import_that_would_answer_otherwise_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelkit.detector import export

    saved(tmp_path / "best.pt", "yolo11n", ["face"])
    monkeypatch.setattr(export, "store_as_half", _spoil)
    arguments = ["import", "detector", str(tmp_path / "best.pt"), "--models-dir", str(tmp_path / "m")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "is not allowed" in result.output
    assert not (tmp_path / "m").exists()


def _spoil(model: Any, **_: Any) -> None:
    """Another bias in the last convolutions, which score the classes."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("cv3.0.2.bias"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(3), tensor.name))


def test_a_simplified_graph_computes_the_same_with_fewer_nodes(tmp_path: Path) -> None:
    model = onnx.load_from_string(classifier_graph(SLOPE))
    nodes = list(model.graph.node)
    two = helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2)))
    folded = helper.make_node("Mul", ["slope", "two"], ["doubled"])
    nodes[1].input[1] = "doubled"
    idle = helper.make_node("Identity", ["images"], ["same"])
    nodes[0].input[0] = "same"
    del model.graph.node[:]
    model.graph.node.extend([two, folded, idle, *nodes])
    onnx.save(model, path := tmp_path / "model.onnx")
    rows = np.random.default_rng(0).random((3, 1, SIDE, SIDE), np.float32)
    before = load_backend(path).run(rows)["logits"]
    simplify(path)
    smaller = onnx.load(path)
    onnx.checker.check_model(smaller)
    assert [node.op_type for node in smaller.graph.node] == ["ReduceMean", "MatMul"]
    assert [each.domain for each in smaller.opset_import] == [""]
    np.testing.assert_allclose(load_backend(path).run(rows)["logits"], before, rtol=1e-6)


@pytest.mark.parametrize(("attributes", "folded"), [({}, True), ({"start": 0}, True), ({"start": 1}, False)])
def test_sides_that_are_known_are_written_down(tmp_path: Path, attributes: dict[str, int], folded: bool) -> None:
    """A network that pads its input by what it computes from its own width, whatever the number of rows."""
    model = onnx.load_from_string(classifier_graph(SLOPE))
    nodes = list(model.graph.node)
    before = [
        helper.make_node("Shape", ["images"], ["sides"], **attributes),
        helper.make_node("Gather", ["sides", "place"], ["width"]),
        helper.make_node("Div", ["width", "width"], ["one"]),
        helper.make_node("Concat", ["zeros", "one"], ["amounts"], axis=0),
        helper.make_node("Pad", ["images", "amounts"], ["padded"]),
    ]
    nodes[0].input[0] = "padded"
    del model.graph.node[:]
    model.graph.node.extend([*before, *nodes])
    place = numpy_helper.from_array(np.array([2 if attributes.get("start") else 3], np.int64), "place")
    model.graph.initializer.extend([place, numpy_helper.from_array(np.zeros(7, np.int64), "zeros")])
    onnx.save(model, path := tmp_path / "model.onnx")
    rows = np.random.default_rng(0).random((3, 1, SIDE, SIDE), np.float32)
    wanted = load_backend(path).run(rows)["logits"]
    simplify(path)
    smaller = onnx.load(path)
    onnx.checker.check_model(smaller)
    assert ("Gather" not in {node.op_type for node in smaller.graph.node}) == folded
    np.testing.assert_allclose(load_backend(path).run(rows)["logits"], wanted, rtol=1e-6)
