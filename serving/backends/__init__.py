"""Inference backends behind one small interface; imported only when used, each costs tens of megabytes."""

from __future__ import annotations

from pathlib import Path

from serving.backends.base import Backend, ModelLoadError

__all__ = ["BACKENDS", "Backend", "ModelLoadError", "load_backend"]

BACKENDS = ("onnxruntime", "openvino")


def load_backend(
    path: Path, *, backend: str = "onnxruntime", precision: str = "fp32", threads: int = 1, concurrency: int = 1
) -> Backend:
    """Loads a model file.

    Args:
        path: the .onnx file.
        backend: one of BACKENDS.
        precision: of the arithmetic: `fp32`; OpenVINO also `bf16`; `int8` of a file that is quantized itself (what is
            not quantized in it runs in float32).
        threads: threads of one run, 1 or more.
        concurrency: runs at the same time, 1 or more.

    Raises:
        ModelLoadError: the file cannot be loaded.
        ValueError: no such backend, or not in that precision.
    """
    if backend == "onnxruntime" and precision in {"fp32", "int8"}:
        from serving.backends.onnx_runtime import OnnxRuntimeBackend, gpu_available

        device = "cuda" if gpu_available() else "cpu"
        return OnnxRuntimeBackend(path, threads=threads, device=device, precision=precision)
    if backend == "openvino" and precision in {"fp32", "bf16", "int8"}:
        from serving.backends.open_vino import OpenVinoBackend

        return OpenVinoBackend(path, threads=threads, precision=precision, concurrency=concurrency)
    raise ValueError(f"there is no backend {backend!r} with precision {precision!r}")
