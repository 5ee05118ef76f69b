"""The published file answers as the trained network does, in half the bytes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from modelkit.detector.export import INPUT, OUTPUT, export, input_spec
from modelkit.detector.network import build
from modelkit.graphs.half_weights import store_as_half
from serving.models.backends import load_backend
from serving.preprocess import normalise

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    net = build("yolo11n").eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export(net, path, 96)
    return net, path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("batch", "width", "height"), [(1, 96, 96), (3, 96, 96), (2, 96, 64), (1, 64, 96), (1, 160, 128)]
)
def test_any_batch_and_frame_answers_as_torch_does(
    exported: tuple[torch.nn.Module, Path], backend: str, batch: int, width: int, height: int
) -> None:
    net, path = exported
    pixels = np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)
    with torch.inference_mode():
        expected = net(torch.from_numpy(normalise(pixels, input_spec(96))))[0].numpy()
    actual = load_backend(path, backend=backend).run(pixels)[OUTPUT]
    anchors = sum(width // stride * (height // stride) for stride in (8, 16, 32))
    assert actual.shape == expected.shape == (batch, 11, anchors)
    assert np.abs(actual[:, 4:] - expected[:, 4:]).max() <= 1e-3
    assert np.abs(actual[:, :4] - expected[:, :4]).max() <= 1.5


def test_weights_take_two_bytes_each(exported: tuple[torch.nn.Module, Path]) -> None:
    net, path = exported
    numbers = sum(parameter.numel() for parameter in net.parameters())
    assert path.stat().st_size < 2.3 * numbers
    graph = onnx.load(str(path)).graph
    assert [i.name for i in graph.input] == [INPUT]
    assert [o.name for o in graph.output] == [OUTPUT]


def test_a_weight_beyond_half_precision_keeps_its_own() -> None:
    weights = np.full((8, 8), 1e6, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [8, 8])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph)
    store_as_half(model)
    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).dtype == np.float32


def test_a_side_that_the_strides_do_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        export(build("yolo11n"), tmp_path / "model.onnx", 100)
