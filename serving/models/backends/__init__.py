"""Inference backends behind one small interface; imported only when used, each costs tens of megabytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from serving.models.backends.base import Backend, ModelLoadError
from serving.models.backends.gpu import GPU_BACKENDS
from serving.models.backends.providers import GpuPlan

__all__ = ["BACKENDS", "GPU_BACKENDS", "Backend", "GpuPlan", "ModelLoadError", "installed", "load_backend"]

BACKENDS = ("onnxruntime", "openvino")
"""Those of the CPU."""

PRECISIONS = {
    "onnxruntime": {"fp32", "fp16", "int8"},
    "openvino": {"fp32", "bf16", "fp16", "int8"},
    "cuda": {"fp32", "fp16"},
    "tensorrt": {"fp16", "int8"},
}


def installed() -> tuple[str, ...]:
    """Those of BACKENDS whose library is here; ONNX Runtime always is, OpenVINO a machine with a GPU can do without."""
    return tuple(name for name in BACKENDS if importlib.util.find_spec(name) is not None)


def load_backend(
    path: Path,
    *,
    backend: str = "onnxruntime",
    precision: str = "fp32",
    threads: int = 1,
    concurrency: int = 1,
    plan: GpuPlan | None = None,
) -> Backend:
    """Loads a model file.

    Args:
        path: the .onnx file.
        backend: one of BACKENDS or GPU_BACKENDS.
        precision: of the arithmetic: `fp32`; `bf16` of OpenVINO; `fp16` and `int8` of a file that is stored for it
            (what is not quantized in it runs in float32), or of any file where TensorRT computes it.
        threads: threads of one run, 1 or more; a GPU does not ask.
        concurrency: runs at the same time, 1 or more; a GPU makes one after the other.
        plan: for a GPU: the shapes that it is to run.

    Raises:
        ModelLoadError: the file cannot be loaded, or the backend is not installed.
        ValueError: no such backend, or not in that precision, or no plan for a GPU.
    """
    if precision not in PRECISIONS.get(backend, ()):
        raise ValueError(f"there is no backend {backend!r} with precision {precision!r}")
    if backend == "onnxruntime":
        from serving.models.backends.onnx_runtime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, threads=threads, precision=precision)
    if backend == "openvino":
        if backend not in installed():
            raise ModelLoadError(path, "openvino is not installed")
        from serving.models.backends.open_vino import OpenVinoBackend

        return OpenVinoBackend(path, threads=threads, precision=precision, concurrency=concurrency)
    if plan is None:
        raise ValueError(f"{backend} needs a plan of the shapes to run")
    from serving.models.backends.gpu_runtime import GpuBackend

    return GpuBackend(path, backend=backend, plan=plan, precision=precision)
