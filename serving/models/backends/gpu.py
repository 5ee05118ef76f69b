"""Which GPU this process may use, and what is missing where it may use none."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from serving.user_cache import user_cache

GPU_BACKENDS = ("tensorrt", "cuda")
"""Backends that need an NVIDIA GPU; both are providers of ONNX Runtime."""

PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}
RUNTIME_PACKAGES = ("onnxruntime-gpu", "onnxruntime")
INSTALL_RUNTIME = "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
INSTALL_TENSORRT = "pip install 'tensorrt-cu13<11' (of the CUDA version that onnxruntime-gpu was built for)"
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute of cuda.h


class GpuMissingError(RuntimeError):
    """A GPU was asked for and cannot be used; the message says what is missing and what to install."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU that CUDA shows this process.

    Attributes:
        name: as the driver gives it.
        compute_capability: such as `9.0`.
    """

    name: str
    compute_capability: str


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """How models are run on a GPU.

    Attributes:
        max_batch: rows of the largest run.
        engine_cache: folder of TensorRT's engines; None: the user's cache.
    """

    max_batch: int = 16
    engine_cache: Path | None = None

    @property
    def engines(self) -> Path | None:
        """The folder of the engines; None where none is named and this user has no cache."""
        if self.engine_cache is not None:
            return self.engine_cache
        own = user_cache()
        return None if own is None else own / "engines"


@cache
def find_gpu() -> Gpu | None:
    """The GPU that would be used; None where there is no driver or no GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetName(name, len(name), device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    )
    if failed:
        return None
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")


@cache
def tensorrt_version() -> str | None:
    """Version of the TensorRT library that ONNX Runtime would load, such as `10.13.3`; None where there is none.

    The libraries of the Python package lie where no loader looks, so they are loaded from there first.
    """
    folders = [""]
    spec = importlib.util.find_spec("tensorrt_libs")
    if spec is not None and spec.submodule_search_locations:
        folders.insert(0, f"{spec.submodule_search_locations[0]}/")
    for folder in folders:
        try:
            first, *_ = [ctypes.CDLL(folder + name, ctypes.RTLD_GLOBAL) for name in TENSORRT_LIBRARIES]
        except OSError:
            continue
        number = int(first.getInferLibVersion())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return None


@cache
def providers() -> frozenset[str]:
    """What the installed ONNX Runtime was built with; loads CUDA's libraries from their Python packages, if there."""
    import onnxruntime as ort

    found = frozenset(ort.get_available_providers())
    if PROVIDERS["cuda"] in found and hasattr(ort, "preload_dlls"):
        with redirect_stdout(io.StringIO()):  # it reports each library that is missing; loading says it better
            ort.preload_dlls()
    return found


def lacks(backend: str) -> str:
    """What is missing to run models on `backend`, and what to install; empty where nothing is.

    Args:
        backend: one of GPU_BACKENDS.
    """
    missing = []
    if find_gpu() is None:
        missing.append("no NVIDIA GPU with a driver is visible to this process")
    if PROVIDERS[backend] not in providers():
        missing.append(f"this ONNX Runtime has no {PROVIDERS[backend]} ({INSTALL_RUNTIME})")
    if backend == "tensorrt" and tensorrt_version() is None:
        missing.append(f"TensorRT 10 is not installed ({INSTALL_TENSORRT})")
    return "; ".join(missing)


def require(backend: str) -> Gpu:
    """The GPU for `backend`.

    Raises:
        GpuMissingError: there is none, or it cannot be used.
    """
    gpu, missing = find_gpu(), lacks(backend)
    if gpu is None or missing:
        raise GpuMissingError(f"{backend} cannot be used: {missing}")
    return gpu


@cache
def runtime_version() -> str:
    """Version of the installed ONNX Runtime, whichever of its packages it is."""
    for package in RUNTIME_PACKAGES:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
