"""Gains of computing with fewer bits: int8, bfloat16, TensorRT."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.gains.row import Figures, Row
from serving.cpu import available_cpus, has_bf16
from serving.models.backends import Backend, ModelLoadError, load_backend
from serving.models.backends.engines import EngineError, load_on_gpu
from serving.models.backends.gpu import GpuSettings, lacks, require
from serving.models.backends.timing import median_ms
from serving.models.tuning import probe
from serving.repository.repository import StoredModel

INT8 = "4x smaller, 2-4x faster, -1 to -2 points"
BFLOAT16 = "1.5-2x, no change"
TENSORRT = "5-10x, no change"
SAMPLES = 512


def reduced(
    models: list[StoredModel], data: Path | None, cache: Path, limit: int | None, seconds: float
) -> Iterator[Row]:
    """Int8 by ONNX Runtime, dynamic and static, and bfloat16 by OpenVINO, against float32 by ONNX Runtime.

    Args:
        models: to try it on.
        data: folder with the Parquet data, to calibrate and judge by; None: the rows are skipped.
        cache: folder where the search for near-duplicates is kept.
        limit: pictures to judge by; None: all.
        seconds: to time each way.
    """
    if data is None:
        for technique, promise in (("dynamic INT8", INT8), ("static INT8", INT8), ("BF16", BFLOAT16)):
            yield Row(technique, "each model", promise, "float32", note="skipped: needs --data")
        return
    try:
        from modelkit.quantize.judge import open_judge
        from modelkit.quantize.search import Method, Settings, search
    except ModuleNotFoundError as error:
        yield Row("INT8 and BF16", "each model", INT8, "float32", note=f"skipped: {error.name} is not installed")
        return
    threads = available_cpus()
    for model in models:
        judge, name = open_judge(model.manifest, data, cache, SAMPLES, limit), model.manifest.name
        base = load_backend(model.file(), threads=threads)
        exact = judge.reported(base).get("accuracy")
        size = model.file().stat().st_size / 1e6
        for method in (Method.DYNAMIC, Method.STATIC):
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    # With this gate everything passes: the row shows what plain quantization costs.
                    found = search(model, judge, Path(scratch), Settings(method, gate=1.0, threads=threads))
                except ValueError as error:
                    yield Row(f"{method} INT8", name, INT8, "float32", note=f"skipped: {error}")
                    continue
                quantized = load_backend(found.file, precision="int8", threads=threads)
                before, after = _times(model, base, quantized, seconds)
                yield Row(
                    f"{method} INT8",
                    name,
                    INT8,
                    "float32, stored as float16",
                    Figures(1000 / before, before, size, exact),
                    Figures(
                        1000 / after, after, found.file.stat().st_size / 1e6, judge.reported(quantized).get("accuracy")
                    ),
                    f"covers {found.attempts[-1].coverage}",
                )
        if not has_bf16():
            yield Row("BF16", name, BFLOAT16, "float32", note="skipped: this processor does not compute bfloat16")
            continue
        half = load_backend(model.file(), backend="openvino", precision="bf16", threads=threads)
        before, after = _times(model, base, half, seconds)
        yield Row(
            "BF16",
            name,
            BFLOAT16,
            "float32 by ONNX Runtime",
            Figures(1000 / before, before, size, exact),
            Figures(1000 / after, after, size, judge.reported(half).get("accuracy")),
            "by OpenVINO",
        )


def tensorrt(
    models: list[StoredModel], data: Path | None, cache: Path, limit: int | None, seconds: float
) -> Iterator[Row]:
    """TensorRT in float16 against float32 by the CUDA provider, on the same GPU; engines are built where need be.

    Args:
        models: to try it on.
        data: folder with the Parquet data, to judge by; None: accuracy is not measured.
        cache: folder where the search for near-duplicates is kept.
        limit: pictures to judge by; None: all.
        seconds: to time each way.
    """
    missing = lacks("tensorrt")
    if missing:
        yield Row("TensorRT FP16", "each model", TENSORRT, "CUDA", note=f"skipped: {missing}")
        return
    settings, gpu = GpuSettings(), require("tensorrt")
    for model in models:
        name, size = model.manifest.name, model.file().stat().st_size / 1e6
        try:
            base = load_on_gpu(model, "cuda", "fp32", "default", settings)
            engine = load_on_gpu(model, "tensorrt", "fp16", "default", settings)
        except (ModelLoadError, EngineError) as error:
            yield Row("TensorRT FP16", name, TENSORRT, "CUDA, float32", note=f"skipped: {error}")
            continue
        exact, reduced_by = _accuracies(model, data, cache, limit, (base, engine))
        before, after = _times(model, base, engine, seconds)
        yield Row(
            "TensorRT FP16",
            name,
            TENSORRT,
            "CUDA, float32",
            Figures(1000 / before, before, size, exact),
            Figures(1000 / after, after, size, reduced_by),
            f"on {gpu.name}",
        )


def _accuracies(
    model: StoredModel, data: Path | None, cache: Path, limit: int | None, backends: tuple[Backend, Backend]
) -> tuple[float | None, float | None]:
    if data is None:
        return None, None
    try:
        from modelkit.quantize.judge import open_judge
    except ModuleNotFoundError:
        return None, None
    judge = open_judge(model.manifest, data, cache, SAMPLES, limit)
    one, other = (judge.reported(backend).get("accuracy") for backend in backends)
    return one, other


def _times(model: StoredModel, base: Backend, other: Backend, seconds: float) -> list[float]:
    rows = probe(model.manifest.input, 1)
    return median_ms([partial(base.run, rows), partial(other.run, rows)], seconds)
