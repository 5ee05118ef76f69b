"""Which backend runs a model fastest on this machine: measured once, kept beside the model, shown on request.

A measurement holds for one kind of machine and one set of library versions; elsewhere it is made anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.activation import softmax
from serving.cpu import available_cpus, cpu_name, has_bf16
from serving.models.backends import BACKENDS, GPU_BACKENDS, engines, installed, load_backend
from serving.models.backends.base import Backend, ModelLoadError, Outputs, Rows
from serving.models.backends.gpu import GpuSettings, find_gpu, lacks, require, runtime_version, tensorrt_version
from serving.models.backends.timing import median_ms
from serving.repository.manifest import Encoding, InputSpec, Manifest
from serving.repository.repository import StoredModel

log = logging.getLogger(__name__)

FULL_PRECISION = "fp32"
PRECISIONS = (FULL_PRECISION, "bf16", "fp16", "int8")
DEFAULT_VARIANT = "default"
QUANTIZED_VARIANTS = ("int8",)
VARIANTS = (*QUANTIZED_VARIANTS, "fp16")
"""Variants of a model that are files of their own; each is named for its precision."""

MAX_REDUCED_DIFFERENCE = 0.02
"""Largest difference of any class score from float32, on the probe batch, that a reduced precision may have."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run a model; `variant` names the file of it, as the manifest does."""

    backend: str
    precision: str
    threads: int
    batch: int
    variant: str = DEFAULT_VARIANT

    @property
    def arithmetic(self) -> tuple[str, str, str]:
        """Backend, precision and variant: all that decides the answers."""
        return self.backend, self.precision, self.variant

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return "cuda" if self.backend in GPU_BACKENDS else "cpu"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a candidate did.

    Attributes:
        rows_per_second: throughput of back-to-back runs.
        run_ms: median duration of a run in milliseconds.
        difference: largest absolute difference of any output score from float32 on ONNX Runtime.
        passed: whether its accuracy on labelled pictures passed a gate; None where nobody has looked.
    """

    candidate: Candidate
    rows_per_second: float
    run_ms: float
    difference: float
    passed: bool | None = None


def machine_id() -> str:
    """Names the processor, the CPUs granted, the GPU and the library versions, 16 hexadecimal digits."""
    parts = [cpu_name(), str(available_cpus()), runtime_version(), _version("openvino")]
    gpu = find_gpu()
    if gpu is not None:
        parts += [gpu.name, gpu.compute_capability, *(lacks(backend) or "has it" for backend in GPU_BACKENDS)]
        parts.append(tensorrt_version() or "")
    text = "|".join(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def candidates(
    threads: int, batches: Iterable[int], *, reduced: bool, manifest: Manifest | None = None
) -> list[Candidate]:
    """Every way this machine offers, float32 on ONNX Runtime first.

    Args:
        threads: of one run.
        batches: rows of one run.
        reduced: less than float32 too.
        manifest: of the model; its variants are offered where they passed their gate.
    """
    on_cpu = installed()
    kinds = [(backend, FULL_PRECISION, DEFAULT_VARIANT) for backend in on_cpu]
    on_gpu = [backend for backend in GPU_BACKENDS if not lacks(backend)]
    if "cuda" in on_gpu:
        kinds.append(("cuda", FULL_PRECISION, DEFAULT_VARIANT))
    if reduced and has_bf16() and "openvino" in on_cpu:
        kinds.append(("openvino", "bf16", DEFAULT_VARIANT))
    if reduced and "tensorrt" in on_gpu:
        kinds.append(("tensorrt", "fp16", DEFAULT_VARIANT))
    if reduced and manifest is not None:
        here = (*on_cpu, *on_gpu)
        kinds += [(b, v, v) for v in VARIANTS for b in here if b in manifest.variant_backends.get(v, ())]
    return [
        Candidate(backend, precision, threads, batch, variant)
        for backend, precision, variant in kinds
        for batch in batches
    ]


def load(stored: StoredModel, how: Candidate, gpu: GpuSettings = GpuSettings()) -> Backend:
    """The model, loaded that way.

    Raises:
        ModelLoadError: the file cannot be loaded.
        GpuMissingError: it needs a GPU that cannot be used.
        EngineError: TensorRT's engine cannot be built or kept.
    """
    if how.device == "cuda":
        return engines.load_on_gpu(stored, how.backend, how.precision, how.variant, gpu)
    return load_backend(stored.file(how.variant), backend=how.backend, precision=how.precision, threads=how.threads)


def probe(spec: InputSpec, batch: int, frame: tuple[int, int] | None = None) -> Rows:
    """Smooth random input of the model's shape, the same at every call.

    Args:
        spec: of the model; says whether these are float32 [batch, C, H, W] or uint8 [batch, H, W, C].
        batch: rows.
        frame: width and height, one of `spec.frames`; None: the full ones.
    """
    width, height = frame or spec.frames[0]
    generator = np.random.default_rng(0)
    coarse = generator.random((batch, spec.channels, 8, 8), np.float32)
    rows = coarse.repeat(-(-height // 8), axis=2).repeat(-(-width // 8), axis=3)[:, :, :height, :width]
    if spec.encoding is Encoding.BYTES:
        return np.ascontiguousarray((rows * 255).astype(np.uint8).transpose(0, 2, 3, 1))
    mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (spec.mean, spec.std))
    return np.ascontiguousarray((rows - mean) / std, np.float32)


def measure(
    stored: StoredModel, tried: Iterable[Candidate], seconds: float = 0.25, gpu: GpuSettings = GpuSettings()
) -> list[Measurement]:
    """Runs each candidate for about `seconds`; one that cannot be loaded is left out, with a line in the log.

    What is already known of a candidate's accuracy is kept.
    """
    verdicts = {m.candidate.arithmetic: m.passed for m in read(stored)}
    results: list[Measurement] = []
    reference: dict[int, Outputs] = {}
    loaded: tuple[tuple[tuple[str, str, str], int], Backend] | None = None
    for candidate in tried:
        key = candidate.arithmetic, candidate.threads
        try:
            if loaded is None or loaded[0] != key:
                loaded = key, load(stored, candidate, gpu)
        except (ModelLoadError, engines.EngineError) as error:
            log.warning("%s", error)
            continue
        rows = probe(stored.manifest.input, candidate.batch)
        outputs = loaded[1].run(rows)
        reference.setdefault(candidate.batch, outputs)
        name = stored.manifest.output.scores
        difference = _difference(outputs[name], reference[candidate.batch][name], stored)
        (median,) = median_ms([partial(loaded[1].run, rows)], seconds)
        passed = verdicts.get(candidate.arithmetic)
        results.append(Measurement(candidate, candidate.batch * 1000 / median, median, difference, passed))
    return results


def _difference(actual: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], stored: StoredModel) -> float:
    if stored.manifest.detection is not None:  # rows below the box are scores already
        actual, expected = actual[:, 4:], expected[:, 4:]
    else:
        actual, expected = softmax(actual), softmax(expected)
    return float(np.abs(actual - expected).max(initial=0))


def fastest(measurements: Iterable[Measurement], *, reduced: bool, batch: int = 1) -> Measurement | None:
    """The quickest run of `batch` rows among those allowed; None where there is no measurement."""
    allowed = [m for m in measurements if m.candidate.batch == batch and is_allowed(m, reduced=reduced)]
    return min(allowed, key=lambda m: m.run_ms, default=None)


def is_allowed(measurement: Measurement, *, reduced: bool) -> bool:
    """Float32 always; less only with `reduced`, and then by its accuracy where somebody has measured it.

    Where nobody has, a quantized variant is allowed, since it was not published without passing its gate, and any
    other precision by the scores of the probe.
    """
    if measurement.candidate.precision == FULL_PRECISION:
        return True
    if not reduced or measurement.passed is not None:
        return reduced and bool(measurement.passed)
    return measurement.candidate.variant in VARIANTS or measurement.difference <= MAX_REDUCED_DIFFERENCE


def choose(
    stored: StoredModel,
    *,
    threads: int = 0,
    backend: str = "auto",
    reduced: bool = False,
    device: str = "auto",
    gpu: GpuSettings = GpuSettings(),
    like: Candidate | None = None,
) -> Candidate:
    """How to run one row at a time: as tuned, else as measured now (and kept).

    TensorRT takes part where its engine is built already, or where it is asked for by name.

    Args:
        stored: the model.
        threads: of one run; 0: as tuned, else as many as there are CPUs.
        backend: one of BACKENDS or GPU_BACKENDS, or `auto`.
        reduced: less than float32 is allowed.
        device: `cpu`, `cuda` or `auto`, which takes a GPU where there is one and it is faster.
        gpu: how models are run there.
        like: how the version runs that answers requests meanwhile. Where nothing is known of this one, it takes the
            same way: what is measured beside live load says more of the load than of the model, and would be kept.

    Raises:
        GpuMissingError: a GPU was asked for, and there is none that could be used.
        ValueError: nothing is left of what was asked for.
    """
    if device == "cuda" or backend in GPU_BACKENDS:
        require(backend if backend in GPU_BACKENDS else "cuda")
    count = threads or available_cpus()
    offered = [
        c
        for c in candidates(count, (1,), reduced=True, manifest=stored.manifest)
        if c.backend != "tensorrt" or backend == "tensorrt" or engines.is_built(stored, c.precision, c.variant, gpu)
    ]
    wanted = [
        c
        for c in offered
        if backend in {"auto", c.backend}
        and device in {"auto", c.device}
        and (reduced or c.precision == FULL_PRECISION)
    ]
    if not wanted:
        raise ValueError(_nothing_left(backend, device))
    known = read(stored)
    kinds = {c.arithmetic for c in wanted}
    usable = [m for m in known if threads in {0, m.candidate.threads}]
    if len(wanted) > 1 and not kinds <= {m.candidate.arithmetic for m in usable}:
        if like is not None:
            return _as(like, stored, wanted, threads, gpu)
        tried = [c for c in offered if c.device == "cpu" or device != "cpu"]
        usable = measure(stored, tried, seconds=0.15, gpu=gpu)
        again = {m.candidate.arithmetic for m in usable}
        kept = (m for m in known if m.candidate.threads != count or m.candidate.arithmetic not in again)
        write(stored, [*usable, *kept])
    asked = (m for m in usable if backend in {"auto", m.candidate.backend} and device in {"auto", m.candidate.device})
    best = fastest(
        (m for m in asked if m.candidate.device == "cpu" or m.candidate.arithmetic in kinds), reduced=reduced
    )
    return best.candidate if best else wanted[0]


def _as(like: Candidate, stored: StoredModel, wanted: list[Candidate], threads: int, gpu: GpuSettings) -> Candidate:
    """The way that is most like another version's; a reduced precision only if its scores are close to float32's."""
    exact = next((c for c in wanted if (c.backend, c.precision) == (like.backend, FULL_PRECISION)), wanted[0])
    same = next((c for c in wanted if c.arithmetic == like.arithmetic), exact)
    if same.precision != FULL_PRECISION:
        compared = measure(stored, dict.fromkeys((wanted[0], same)), seconds=0, gpu=gpu)
        if not any(m.candidate == same and is_allowed(m, reduced=True) for m in compared):
            same = exact
    return replace(same, threads=threads or like.threads)


def _nothing_left(backend: str, device: str) -> str:
    if backend == "tensorrt" and device != "cpu":
        return "TensorRT computes in fp16 or int8: allow it with --optimized"
    if backend in BACKENDS and backend not in installed():
        return f"{backend} is not installed"
    return f"backend {backend} does not run on device {device}"


def open_fastest(
    stored: StoredModel,
    *,
    threads: int = 0,
    backend: str = "auto",
    reduced: bool = False,
    device: str = "auto",
    gpu: GpuSettings = GpuSettings(),
    like: Candidate | None = None,
) -> tuple[Candidate, Backend]:
    """The model, loaded as `choose` says, and how that is; from a GPU that fails, `auto` falls back to the CPU.

    Raises:
        ModelLoadError: the file cannot be loaded.
        GpuMissingError: a GPU was asked for, and there is none that could be used.
        ValueError: nothing is left of what was asked for.
    """
    how = choose(stored, threads=threads, backend=backend, reduced=reduced, device=device, gpu=gpu, like=like)
    try:
        return how, load(stored, how, gpu)
    except (ModelLoadError, engines.EngineError) as error:
        if how.device == "cpu" or device == "cuda" or backend != "auto":
            raise
        log.warning("no GPU for %s, the CPU takes its place: %s", stored.manifest.name, error)
    how = choose(stored, threads=threads, reduced=reduced, device="cpu", like=like)
    return how, load(stored, how)


def _files(stored: StoredModel) -> tuple[Path, Path]:
    """Where measurements are kept: beside the model, or in the user's cache where that cannot be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ferry" / "tuning"
    beside = stored.directory / f"tuning-{machine_id()}.json"
    return beside, cache / f"{stored.manifest.digest[:16]}-{machine_id()}.json"


def read(stored: StoredModel) -> list[Measurement]:
    """Measurements of this model on this kind of machine; empty where there are none (or unreadable ones)."""
    for path in _files(stored):
        try:
            record = json.loads(path.read_text())
            if record["digest"] == stored.manifest.digest:
                return [_measurement(m, stored.manifest) for m in record["measurements"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return []


def _measurement(record: dict[str, Any], manifest: Manifest) -> Measurement:
    """One entry of a kept file. It is no model file, so nobody vouches for it: whatever is odd raises."""
    candidate = Candidate(**record["candidate"])
    figures = [float(record[name]) for name in ("rows_per_second", "run_ms", "difference")]
    counts = (candidate.threads, candidate.batch)
    if candidate.backend not in (*BACKENDS, *GPU_BACKENDS) or candidate.precision not in PRECISIONS:
        raise ValueError(f"there is no {candidate.backend} {candidate.precision}")
    stored_so = candidate.precision in VARIANTS and (candidate.backend, candidate.precision) != ("tensorrt", "fp16")
    if candidate.variant not in {candidate.precision if stored_so else DEFAULT_VARIANT}:
        raise ValueError(f"variant {candidate.variant!r} is not stored in {candidate.precision}")
    if stored_so and candidate.backend not in manifest.variant_backends[candidate.variant]:
        raise ValueError(f"{candidate.variant} has not passed its gate on {candidate.backend}")
    passed = record.get("passed")
    if passed is not None and not isinstance(passed, bool):
        raise ValueError("passed is neither true nor false")
    if not all(isinstance(n, int) and 1 <= n <= 4096 for n in counts) or not all(math.isfinite(f) for f in figures):
        raise ValueError("a figure is out of its range")
    rows_per_second, run_ms, difference = figures
    return Measurement(candidate, rows_per_second, run_ms, difference, passed)


def write(stored: StoredModel, measurements: list[Measurement]) -> Path | None:
    """Keeps measurements for the next start; returns where, or None where nothing can be written."""
    record = {
        "digest": stored.manifest.digest,
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "measurements": [asdict(m) for m in measurements],
    }
    for path in _files(stored):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(f".{os.getpid()}.tmp")
            scratch.write_text(json.dumps(record, indent=2) + "\n")
            scratch.replace(path)
        except OSError:
            continue
        return path
    return None
