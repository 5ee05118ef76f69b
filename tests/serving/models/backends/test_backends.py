"""Both backends give the same answers, and a clear error for what is no model."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from serving.models import backends
from serving.models.backends import BACKENDS, Backend, ModelLoadError, deferred, load_backend
from tests.tiny_models import SIDE, classifier_graph, detector_graph

SLOPE = (1, 2, 3, -4, 5, 6, 0.5)


@pytest.fixture(params=BACKENDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(tmp_path: Path, name: str, graph: bytes, concurrency: int = 1) -> Backend:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph)
    return load_backend(path, backend=name, threads=1, concurrency=concurrency)


def bright(*values: float, channels: int = 1, side: int = SIDE) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.stack([np.full((channels, side, side), value, np.float32) for value in values])


def test_a_run_answers_every_row_by_output_name(tmp_path: Path, name: str) -> None:
    backend = load(tmp_path, name, classifier_graph(SLOPE, embedding=True))
    for batch in ([0.5], [0.1, 0.2, 0.9], [1.0] * 17):  # any batch size, also after another
        outputs = backend.run(bright(*batch))
        assert set(outputs) == {"logits", "embedding"}
        assert outputs["logits"].dtype == np.float32
        np.testing.assert_allclose(outputs["logits"], np.outer(batch, SLOPE), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-5)


def test_answers_are_not_overwritten_by_the_next_run(tmp_path: Path, name: str) -> None:
    backend = load(tmp_path, name, classifier_graph(SLOPE))
    first = backend.run(bright(0.5))["logits"]
    kept = first.copy()
    backend.run(bright(0.9))
    np.testing.assert_array_equal(first, kept)


def test_several_threads_may_run_one_backend(tmp_path: Path, name: str) -> None:
    backend = load(tmp_path, name, classifier_graph(SLOPE), concurrency=2)
    values = [i / 50 for i in range(50)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda value: backend.run(bright(value))["logits"][0], values))
    np.testing.assert_allclose(answers, np.outer(values, SLOPE), rtol=1e-5, atol=1e-6)


def test_what_its_thread_has_put_off_is_done_beside_a_run_where_it_says_so(tmp_path: Path, name: str) -> None:
    backend = load(tmp_path, name, classifier_graph(SLOPE))
    done: list[str] = []
    deferred.put_off(lambda: done.append("before"))
    outputs = backend.run(bright(0.5))
    assert done == (["before"] if backend.overlaps else [])
    deferred.catch_up()
    np.testing.assert_array_equal(outputs["logits"], backend.run(bright(0.5))["logits"])
    assert done == ["before"]


def test_rows_that_may_not_be_written_are_there_until_the_run_is_over(tmp_path: Path, name: str) -> None:
    backend = load(tmp_path, name, classifier_graph(SLOPE))
    rows = bright(*(i / 50 for i in range(50)))
    expected = backend.run(rows)["logits"]
    rows.flags.writeable = False
    kept: list[object] = []
    for _ in range(20):
        deferred.put_off(lambda: kept.extend(np.full_like(rows, 9.0) for _ in range(3)))
        np.testing.assert_array_equal(backend.run(rows)["logits"], expected)
    deferred.catch_up()


def test_the_detector_agrees_across_backends(tmp_path: Path) -> None:
    rows = bright(0.2, 0.8, channels=3, side=64)
    one, other = (load(tmp_path, name, detector_graph()).run(rows)["output0"] for name in BACKENDS)
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 4096, classifier_graph()[:-40]])
def test_garbage_is_a_model_load_error_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(ModelLoadError, match=r"model\.onnx"):
        load(tmp_path, name, content)


def test_a_missing_file_is_a_model_load_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelLoadError):
        load_backend(tmp_path / "absent.onnx", backend=name)


def two_inputs() -> bytes:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in ("a", "b", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["sum"])], "two", values[:2], values[2:])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def test_a_model_of_two_inputs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelLoadError, match="has 2 inputs"):
        load(tmp_path, name, two_inputs())


def with_weights_elsewhere(location: str) -> bytes:
    """A model whose weights lie in another file, which it names."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in ("a", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "w"], ["sum"])], "t", values[:1], values[1:], [weights])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


@pytest.mark.parametrize("absolute", [False, True])
def test_a_model_reads_no_file_outside_its_folder(tmp_path: Path, name: str, absolute: bool) -> None:
    (tmp_path / "secret.bin").write_bytes(b"0123456789abcdef")
    folder = tmp_path / "tiny" / "1"
    folder.mkdir(parents=True)
    location = str(tmp_path / "secret.bin") if absolute else "../../secret.bin"
    with pytest.raises(ModelLoadError):
        load(folder, name, with_weights_elsewhere(location))


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp32"), ("onnxruntime", "bf16"), ("openvino", "int4")])
def test_an_unknown_way_to_run_is_refused(tmp_path: Path, backend: str, precision: str) -> None:
    with pytest.raises(ValueError, match="no backend"):
        load_backend(tmp_path / "model.onnx", backend=backend, precision=precision)


def test_without_openvino_a_model_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "installed", lambda: ("onnxruntime",))
    with pytest.raises(ModelLoadError, match="openvino is not installed"):
        load_backend(tmp_path / "model.onnx", backend="openvino")


@pytest.mark.parametrize("package", ["serving", "modelkit"])
def test_the_runtime_keeps_no_record_of_what_it_loads_and_reports_it_to_nobody(tmp_path: Path, package: str) -> None:
    """Left alone, ONNX Runtime gives the machine a number and collects its reports in the user's cache."""
    (tmp_path / "model.onnx").write_bytes(classifier_graph())
    program = (
        f"import sys, {package}, onnxruntime; "
        "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    )
    home = tmp_path / "home"
    home.mkdir()
    # A runtime that believes itself in CI is silent anyway.
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model.onnx")], check=True, env=environment)
    assert list(home.rglob("*")) == []


def test_a_signal_is_handled_after_models_have_come_and_gone(tmp_path: Path, name: str) -> None:
    """A backend that leaves its thread a stack for signals which is gone lets the next one kill the process."""
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier_graph(SLOPE))
    program = (
        "import os, signal, sys; from pathlib import Path; from serving.models.backends import load_backend\n"
        f"load = lambda: load_backend(Path(sys.argv[1]), backend={name!r}, threads=1)\n"
        "first, second = load(), load()\n"
        "del first; del second\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
