"""Measurements are kept beside the model, or in the user's cache: JSON, for one model on one kind of machine.

`{"digest", "machine", "cpus", "measurements": [{"candidate": {"backend", "precision", "threads", "batch", "variant",
"runs", "rest"}, "rows_per_second", "run_ms", "difference", "passed", "cpu_ms"}]}`; see serving.models.ways. New fields
have defaults, so that older files are read; a field that is not known makes the file count as none. Where nothing is
kept, what was delivered with the model counts (serving.models.delivered).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving.bounded_read import read_json
from serving.cpu import available_cpus, cpu_name
from serving.disk import write_whole
from serving.models import delivered
from serving.models.backends import BACKENDS, GPU_BACKENDS
from serving.models.backends.gpu import find_gpu, lacks, runtime_version, tensorrt_version
from serving.models.libraries import installed_version
from serving.models.ways import DEFAULT_VARIANT, FULL_PRECISION, Candidate, Measurement
from serving.repository.manifest import Manifest
from serving.repository.repository import StoredModel
from serving.user_cache import user_cache

PRECISIONS = (FULL_PRECISION, "bf16", "fp16", "int8")
QUANTIZED_VARIANTS = ("int8",)
VARIANTS = (*QUANTIZED_VARIANTS, "fp16")
"""Variants of a model that are files of their own; each is named for its precision."""


def machine_id() -> str:
    """Names the processor, the CPUs granted, the GPU and the library versions, 16 hexadecimal digits."""
    parts = [cpu_name(), str(available_cpus()), runtime_version(), installed_version("openvino")]
    gpu = find_gpu()
    if gpu is not None:
        parts += [gpu.name, gpu.compute_capability, *(lacks(backend) or "has it" for backend in GPU_BACKENDS)]
        parts.append(tensorrt_version() or "")
    text = "|".join(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(stored: StoredModel) -> list[Path]:
    """Where measurements are kept: beside the model, or in the user's cache where that cannot be written."""
    machine, cache = machine_id(), user_cache()
    beside = stored.directory / f"tuning-{machine}.json"
    elsewhere = [] if cache is None else [cache / "tuning" / f"{stored.manifest.digest[:16]}-{machine}.json"]
    return [beside, *elsewhere]


def read(stored: StoredModel) -> list[Measurement]:
    """Measurements of this model on this kind of machine; empty where there are none (or unreadable ones)."""
    for record in (*_own(stored), *delivered.records(stored)):
        try:
            if record["digest"] == stored.manifest.digest:
                return [_measurement(m, stored.manifest) for m in record["measurements"]]
        except (ValueError, KeyError, TypeError):
            continue
    return []


def _own(stored: StoredModel) -> Iterator[Any]:
    """What was kept here, the latest first: where the first place had no room the second one has it."""
    for path in sorted(_files(stored), key=_written, reverse=True):
        try:
            yield read_json(path, delivered.MOST_BYTES)
        except (OSError, ValueError):
            continue


def _written(path: Path) -> float:
    """Unix time, seconds; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _measurement(record: dict[str, Any], manifest: Manifest) -> Measurement:
    """One entry of a kept file. It is no model file, so nobody vouches for it: whatever is odd raises."""
    candidate = Candidate(**record["candidate"])
    figures = [float(record[name]) for name in ("rows_per_second", "run_ms", "difference")]
    figures.append(float(record.get("cpu_ms", 0.0)))
    counts = (candidate.threads, candidate.batch, candidate.runs, candidate.rest + 1)
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
    rows_per_second, run_ms, difference, cpu_ms = figures
    if rows_per_second <= 0 or run_ms < 0 or cpu_ms < 0:
        raise ValueError("a figure is out of its range")
    return Measurement(candidate, rows_per_second, run_ms, difference, passed, cpu_ms)


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
            write_whole(path, json.dumps(record, indent=2) + "\n")
        except OSError:
            continue
        return path
    return None
