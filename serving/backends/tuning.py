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
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serving.backends import BACKENDS, load_backend
from serving.backends.base import Backend, ModelLoadError, Outputs, Rows
from serving.backends.timing import median_ms
from serving.cpu import available_cpus, cpu_name, has_bf16
from serving.repository.manifest import InputSpec
from serving.repository.repository import StoredModel

log = logging.getLogger(__name__)

FULL_PRECISION = "fp32"
PRECISIONS = (FULL_PRECISION, "bf16")
MAX_REDUCED_DIFFERENCE = 0.02
"""Largest difference of any class score from float32, on the probe batch, that a reduced precision may have."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run a model."""

    backend: str
    precision: str
    threads: int
    batch: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a candidate did.

    Attributes:
        rows_per_second: throughput of back-to-back runs.
        run_ms: median duration of a run in milliseconds.
        difference: largest absolute difference of any output score from float32 on ONNX Runtime.
    """

    candidate: Candidate
    rows_per_second: float
    run_ms: float
    difference: float


def machine_id() -> str:
    """Names the processor, the CPUs granted and the library versions, 16 hexadecimal digits."""
    versions = [importlib.metadata.version(package) for package in ("onnxruntime", "openvino")]
    text = "|".join([cpu_name(), str(available_cpus()), *versions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def candidates(threads: int, batches: Iterable[int], *, reduced: bool) -> list[Candidate]:
    """Every way this machine offers, float32 on ONNX Runtime first."""
    kinds = [("onnxruntime", FULL_PRECISION), ("openvino", FULL_PRECISION)]
    if reduced and has_bf16():
        kinds.append(("openvino", "bf16"))
    return [Candidate(backend, precision, threads, batch) for backend, precision in kinds for batch in batches]


def probe(spec: InputSpec, batch: int) -> Rows:
    """Smooth random input of the model's shape, the same at every call: float32 [batch, C, H, W]."""
    generator = np.random.default_rng(0)
    coarse = generator.random((batch, spec.channels, 8, 8), np.float32)
    rows = coarse.repeat(-(-spec.height // 8), axis=2).repeat(-(-spec.width // 8), axis=3)
    mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (spec.mean, spec.std))
    return np.ascontiguousarray((rows[:, :, : spec.height, : spec.width] - mean) / std)


def measure(stored: StoredModel, tried: Iterable[Candidate], seconds: float = 0.25) -> list[Measurement]:
    """Runs each candidate for about `seconds`; one that cannot be loaded is left out, with a line in the log."""
    results: list[Measurement] = []
    reference: dict[int, Outputs] = {}
    loaded: tuple[tuple[str, str, int], Backend] | None = None
    for candidate in tried:
        key = (candidate.backend, candidate.precision, candidate.threads)
        try:
            if loaded is None or loaded[0] != key:
                loaded = key, load_backend(stored.file(), backend=key[0], precision=key[1], threads=key[2])
        except ModelLoadError as error:
            log.warning("%s", error)
            continue
        rows = probe(stored.manifest.input, candidate.batch)
        outputs = loaded[1].run(rows)
        reference.setdefault(candidate.batch, outputs)
        name = stored.manifest.output.scores
        difference = _difference(outputs[name], reference[candidate.batch][name], stored)
        (median,) = median_ms([partial(loaded[1].run, rows)], seconds)
        results.append(Measurement(candidate, candidate.batch * 1000 / median, median, difference))
    return results


def _difference(actual: Rows, expected: Rows, stored: StoredModel) -> float:
    if stored.manifest.detection is not None:  # rows below the box are scores already
        actual, expected = actual[:, 4:], expected[:, 4:]
    else:
        actual, expected = _softmax(actual), _softmax(expected)
    return float(np.abs(actual - expected).max(initial=0))


def _softmax(logits: Rows) -> Rows:
    powers: Rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Rows = powers / powers.sum(axis=1, keepdims=True)
    return shares


def fastest(measurements: Iterable[Measurement], *, reduced: bool, batch: int = 1) -> Measurement | None:
    """The quickest run of `batch` rows among those allowed; None where there is no measurement."""
    allowed = [
        m
        for m in measurements
        if m.candidate.batch == batch
        and (m.candidate.precision == FULL_PRECISION or (reduced and m.difference <= MAX_REDUCED_DIFFERENCE))
    ]
    return min(allowed, key=lambda m: m.run_ms, default=None)


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
                return [_measurement(m) for m in record["measurements"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return []


def _measurement(record: dict[str, Any]) -> Measurement:
    """One entry of a kept file. It is no model file, so nobody vouches for it: whatever is odd raises."""
    candidate = Candidate(**record["candidate"])
    figures = [float(record[name]) for name in ("rows_per_second", "run_ms", "difference")]
    counts = (candidate.threads, candidate.batch)
    if candidate.backend not in BACKENDS or candidate.precision not in PRECISIONS:
        raise ValueError(f"there is no {candidate.backend} {candidate.precision}")
    if not all(isinstance(n, int) and 1 <= n <= 4096 for n in counts) or not all(math.isfinite(f) for f in figures):
        raise ValueError("a figure is out of its range")
    return Measurement(candidate, *figures)


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
