"""A GPU that is none: the calls that the GPU backend makes of ONNX Runtime, and what a machine with a GPU would say."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.models import kept
from serving.models.backends import engines, gpu, gpu_runtime
from serving.models.backends.gpu import PROVIDERS, Gpu

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0")


class FakeOrt:
    """Stands in for the module `onnxruntime`. The model answers the mean of each row, times seven.

    Attributes:
        sessions: that were opened, in order.
        loads: providers whose libraries are there.
        graphs_refused: sessions with CUDA graphs cannot be opened.
        capture_fails: a run that would record a graph fails.
        broken: no session can be opened.
    """

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.loads = {*PROVIDERS.values(), "CPUExecutionProvider"}
        self.graphs_refused = self.capture_fails = self.broken = False
        self.OrtValue = FakeValue
        self.RunOptions = FakeRunOptions

    def SessionOptions(self) -> Any:  # noqa: N802
        return FakeOptions()

    def InferenceSession(self, path: str, options: Any, *, providers: list[Any], **more: Any) -> FakeSession:  # noqa: N802
        assert more == {"enable_fallback": 0}, "ONNX Runtime would go on without a word"
        session = FakeSession(self, path, providers, options.rows)
        self.sessions.append(session)
        return session


class FakeOptions:
    rows: int | None = None

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        assert name == "batch"
        self.rows = size


class FakeSession:
    def __init__(self, ort: FakeOrt, path: str, providers: list[Any], rows: int | None) -> None:
        self.ort, self.path, self.rows = ort, Path(path), rows
        self.options = {p[0]: p[1] for p in providers if not isinstance(p, str)}
        self.names = [p if isinstance(p, str) else p[0] for p in providers]
        self.graphs = self.options.get(PROVIDERS["cuda"], {}).get("enable_cuda_graph") == "1"
        self.bound_runs: list[tuple[int, str | None]] = []
        self.threads: set[int] = set()
        if ort.broken or (self.graphs and ort.graphs_refused):
            raise RuntimeError("no such session")

    def get_providers(self) -> list[str]:
        return [name for name in self.names if name in self.ort.loads]

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "images", "shape": ["batch", 1, 16, 16]})()]

    def get_outputs(self) -> list[Any]:
        return [type("Output", (), {"name": "logits"})()]

    def run(self, outputs: list[str], feed: dict[str, Any], options: FakeRunOptions) -> list[Any]:
        if self.graphs and options.entries.get("gpu_graph_id") != "-1":
            return []  # recorded, and what replays a graph hands nothing back
        folder = self.options.get(PROVIDERS["tensorrt"], {}).get("trt_engine_cache_path")
        if folder is not None:
            (Path(folder) / "model_sm90.engine").write_bytes(b"engine")
        return [answer(feed["images"])]

    def io_binding(self) -> FakeBinding:
        return FakeBinding()

    def run_with_iobinding(self, binding: FakeBinding, options: FakeRunOptions) -> None:
        if self.graphs and self.ort.capture_fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.threads.add(threading.get_ident())
        rows = binding.inputs["images"].data
        self.bound_runs.append((len(rows), options.entries.get("gpu_graph_id")))
        binding.outputs["logits"].data[:] = answer(rows)


def answer(rows: Any) -> Any:
    """float32 [N, ...] to float32 [N, 7]."""
    return np.repeat(rows.reshape(len(rows), -1).mean(axis=1, keepdims=True), 7, axis=1).astype(np.float32)


class FakeBinding:
    def __init__(self) -> None:
        self.inputs: dict[str, FakeValue] = {}
        self.outputs: dict[str, FakeValue] = {}

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        self.inputs[name] = value

    def bind_ortvalue_output(self, name: str, value: FakeValue) -> None:
        self.outputs[name] = value


class FakeRunOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class FakeValue:
    """Memory of the GPU."""

    def __init__(self, data: Any) -> None:
        self.data = data

    @classmethod
    def ortvalue_from_numpy(cls, data: Any, device: str, number: int) -> FakeValue:
        assert (device, number) == ("cuda", 0)
        return cls(data.copy())

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: Any, kind: Any, device: str, number: int) -> FakeValue:
        assert (device, number) == ("cuda", 0)
        return cls(np.full(shape, np.nan, kind))

    def update_inplace(self, data: Any) -> None:
        assert data.shape == self.data.shape, "a buffer of a recorded graph cannot grow"
        self.data[:] = data

    def numpy(self) -> Any:
        return self.data


def install(monkeypatch: pytest.MonkeyPatch, *, tensorrt: bool = True, card: Gpu = H100) -> FakeOrt:
    """From now on this machine has a GPU, and ONNX Runtime its providers."""
    fake = FakeOrt()
    monkeypatch.setattr(gpu_runtime, "ort", fake)
    for module in (gpu, engines, kept):
        monkeypatch.setattr(module, "find_gpu", lambda: card)
        monkeypatch.setattr(module, "tensorrt_version", lambda: "10.13.3" if tensorrt else None)
    monkeypatch.setattr(gpu, "providers", lambda: frozenset(PROVIDERS.values()))
    return fake


def remove(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this machine has no GPU, whatever it really has."""
    for module in (gpu, engines, kept):
        monkeypatch.setattr(module, "find_gpu", lambda: None)
        monkeypatch.setattr(module, "tensorrt_version", lambda: None)
    monkeypatch.setattr(gpu, "providers", lambda: frozenset({"CPUExecutionProvider"}))
