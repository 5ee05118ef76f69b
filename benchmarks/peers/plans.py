"""How the models are run, for every server alike: by the backend that is measured to compute most on a thread."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.peers.catalogue import Way
from benchmarks.peers.kernels import Model, Plan, rows_of
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe
from serving.cpu import has_bf16
from serving.repository.repository import ModelRepository

BACKENDS = ("onnxruntime", "openvino")
BATCH = 8
SECONDS = 0.4


def make(models_dir: Path, precision: str) -> Plan:
    """The default recipe's models on the backend that is fastest with one thread.

    Args:
        models_dir: the model repository.
        precision: `fp32` or `bf16`.
    """
    recipe = read_recipe(DEFAULT_RECIPE)
    names = [recipe.detector.name, *(entry.name for entry in recipe.classifiers)]
    folders = [stable(models_dir, name) for name in names]
    backends = tuple(
        "openvino" if precision == "bf16" else _fastest(folder, 1 if i == 0 else BATCH)
        for i, folder in enumerate(folders)
    )
    weights = tuple(entry.weight for entry in recipe.classifiers)
    return Plan(
        models=tuple(str(folder) for folder in folders),
        backends=backends,
        weights=weights,
        precision=precision,
        crop_size=recipe.crop_size,
        crop_margin=recipe.crop_margin,
    )


def classifier(plan: Plan, index: int = 1) -> Plan:
    """One classifier of it alone."""
    return replace(
        plan, models=(plan.models[index],), backends=(plan.backends[index],), weights=(1.0,), task="classify"
    )


def run_in(plan: Plan, way: Way, *, processes: bool) -> Plan:
    """For one process of a server: workers that share it get a run each."""
    return replace(plan, threads=way.threads, runs=1 if processes else way.workers)


def precisions() -> tuple[str, ...]:
    """What this processor computes."""
    return ("fp32", "bf16") if has_bf16() else ("fp32",)


def stable(models_dir: Path, name: str) -> Path:
    """Folder of the version that is served by default."""
    return ModelRepository(models_dir.resolve()).open(name, "stable").directory


def _fastest(folder: Path, rows: int) -> str:
    return max(BACKENDS, key=lambda backend: _rate(Model(folder, backend, "fp32", 1, 1), rows))


def _rate(model: Model, rows: int) -> float:
    spec = model.manifest["input"]
    zeros = rows_of(np.zeros((rows, spec["height"], spec["width"], 3), np.uint8), spec)
    for _ in range(3):
        model.run(zeros)
    runs, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + SECONDS:
        model.run(zeros)
        runs += 1
    return runs * rows / (time.perf_counter() - begin)
