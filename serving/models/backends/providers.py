"""Options of ONNX Runtime's GPU providers: TensorRT first, CUDA as the next, the CPU behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.models.backends.gpu import PROVIDERS

CPU = "CPUExecutionProvider"
MAX_WORKSPACE_BYTES = 1 << 30
"""Scratch memory that TensorRT may use while it builds and runs; several models share one GPU."""

Provider = str | tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """How one model file is run on a GPU.

    Attributes:
        input: name of the model's input.
        shape: of one row: channels, height, width, or height, width, channels where `bytes_in`.
        shapes: of rows that are run as well.
        bytes_in: rows are uint8, not float32.
        buckets: rows of a run, ascending.
        engines: TensorRT: folder of this model's engines.
        graphs: CUDA: record each bucket's kernels once and replay them, where the model allows it.
        tf32: CUDA: multiply float32 with 10 bits of each factor.
        fixed: a session for each bucket, whose number of rows is known when the model is loaded.
    """

    input: str
    shape: tuple[int, ...]
    buckets: tuple[int, ...]
    engines: Path | None = None
    graphs: bool = True
    tf32: bool = False
    fixed: bool = False
    shapes: tuple[tuple[int, ...], ...] = ()
    bytes_in: bool = False

    @property
    def smallest(self) -> tuple[int, ...]:
        """Each side as small as it may be."""
        return tuple(min(sides) for sides in zip(self.shape, *self.shapes, strict=True))

    @property
    def profile(self) -> tuple[int, int, int]:
        """Least, most common and largest number of rows: what TensorRT tunes its kernels for."""
        return self.buckets[0], self.buckets[len(self.buckets) // 2], self.buckets[-1]


def cuda_options(*, graphs: bool, tf32: bool = False) -> dict[str, str]:
    """Options of the CUDA provider.

    Args:
        graphs: record each bucket's kernels once and replay them; wants fixed shapes and bound buffers.
        tf32: keeps 10 bits of each factor; what is called float32 does not.
    """
    return {
        "device_id": "0",
        # The default search tries every algorithm for each new shape, which costs hundreds of milliseconds.
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": str(int(tf32)),
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": str(int(graphs)),
    }


def tensorrt_options(plan: GpuPlan, precision: str) -> dict[str, str]:
    """Options of the TensorRT provider.

    Args:
        plan: with a folder for engines.
        precision: `fp16`; `int8` of a file with QuantizeLinear/DequantizeLinear pairs, whose other layers run in fp16.
    """
    least, common, most = (
        _shape(plan, rows, shape)
        for rows, shape in zip(plan.profile, (plan.smallest, plan.shape, plan.shape), strict=True)
    )
    return {
        "device_id": "0",
        "trt_fp16_enable": "1",
        "trt_int8_enable": str(int(precision == "int8")),
        "trt_max_workspace_size": str(MAX_WORKSPACE_BYTES),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(plan.engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(plan.engines),
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": common,
        "trt_profile_max_shapes": most,
    }


def provider_list(backend: str, plan: GpuPlan, precision: str, *, graphs: bool) -> list[Provider]:
    """Providers for a session, best first: what one cannot run falls to the next."""
    cuda = (PROVIDERS["cuda"], cuda_options(graphs=graphs, tf32=plan.tf32))
    if backend == "cuda":
        return [cuda, CPU]
    return [(PROVIDERS["tensorrt"], tensorrt_options(plan, precision)), cuda, CPU]


def _shape(plan: GpuPlan, rows: int, shape: Sequence[int]) -> str:
    sides = (rows, *shape)
    return f"{plan.input}:{'x'.join(str(side) for side in sides)}"
