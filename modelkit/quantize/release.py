"""Publishes a quantized or float16 file as a variant, in a new version that holds all that its source version holds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from modelkit.judging.floor import below_floor
from modelkit.publishing.publish import PublishError, publish
from modelkit.quantize.plots import draw_attempts
from modelkit.quantize.search import Quantized, holds
from serving.cpu import available_cpus, cpu_name
from serving.models import tuning
from serving.repository.manifest import Manifest
from serving.repository.repository import ModelRepository, StoredModel

REPORT_FILE, PLOT_FILE = "optimization.json", "optimization.png"


def measure(stored: StoredModel, result: Quantized, seconds: float = 0.5) -> list[tuning.Measurement]:
    """How fast every way to run one row is on this machine, the quantized file among them (passed or not)."""
    with tempfile.TemporaryDirectory() as scratch:
        trial = trial_version(stored, result, Path(scratch), tuple(result.backends))
        offered = tuning.candidates(available_cpus(), (1,), reduced=True, manifest=trial.manifest)
        return tuning.measure(trial, offered, seconds)


def trial_version(stored: StoredModel, result: Quantized, scratch: Path, backends: tuple[str, ...]) -> StoredModel:
    """A version with the quantized file in a repository of its own, to be run on these backends."""
    return _publish(stored, result, scratch, {}, backends)


def make_report(stored: StoredModel, result: Quantized, measurements: list[tuning.Measurement]) -> dict[str, Any]:
    """All that is known, as plain values."""
    return {
        "model": stored.manifest.name,
        "source_version": stored.manifest.version,
        "variant": result.settings.variant,
        "bytes": {
            "float32": result.plain_bytes,
            "default": stored.file().stat().st_size,
            result.settings.variant: result.file.stat().st_size,
        },
        **result.record(),
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "speed": [
            {"backend": m.candidate.backend, "precision": m.candidate.precision, "run_ms": m.run_ms}
            for m in measurements
        ],
    }


def publish_quantized(
    stored: StoredModel, result: Quantized, models_dir: Path, report: dict[str, Any], plot: Path | None = None
) -> StoredModel:
    """Publishes the next version of the model.

    Args:
        stored: the source version.
        result: at least one backend passed.
        models_dir: the model repository.
        report: goes beside the file as `optimization.json`.
        plot: goes beside the file as `optimization.png`; by default, the attempts are drawn.

    Raises:
        PublishError: no backend passed the gate, or another publish runs.
    """
    if not result.passed:
        raise PublishError(explain_failure(stored, result))
    with tempfile.TemporaryDirectory() as scratch:
        files = {REPORT_FILE: Path(scratch) / REPORT_FILE, PLOT_FILE: plot or Path(scratch) / PLOT_FILE}
        files[REPORT_FILE].write_text(json.dumps(report, indent=1) + "\n")
        if plot is None:
            draw_attempts(stored.manifest.name, result, files[PLOT_FILE])
        return _publish(stored, result, models_dir, files, result.passed)


def explain_failure(stored: StoredModel, result: Quantized) -> str:
    """Why a result is not published, in one line, with the layers that cost most."""
    low = next((text for judged in result.backends.values() if (text := below_floor(judged.after))), "")
    if low and any(holds(judged.loss, result.settings.gate) for judged in result.backends.values()):
        return f"{stored.manifest.name} in {result.settings.variant}: {low}; nothing is published"
    lost = min((judged.loss for judged in result.backends.values()), default=1.0)
    line = (
        f"{stored.manifest.name} loses {lost:.4f} in {result.settings.variant}, "
        f"more than its gate of {result.settings.gate:g}; "
        "nothing is published"
    )
    dearest = "; ".join(f"{', '.join(cost.layers)} ({cost.change:.3f})" for cost in result.costs[:3])
    return f"{line}. The layers that change the answers most: {dearest}" if dearest else line


def _publish(
    stored: StoredModel, result: Quantized, models_dir: Path, more: dict[str, Path], backends: tuple[str, ...]
) -> StoredModel:
    source, variant = stored.manifest, result.settings.variant
    file = f"model.{variant}.onnx"
    files = {name: stored.directory / name for name in source.files} | {file: result.file} | more

    def manifest(version: str, digests: dict[str, str]) -> Manifest:
        figures = {
            "method": result.settings.method.value,
            "gate": result.settings.gate,
            "source_version": source.version,
            "coverage": str(result.attempts[-1].coverage),
            "backends": result.record()["backends"],
        }
        variants = source.evaluation.get("variants", {}) | {variant: figures}
        changes = {
            "version": version,
            "files": digests,
            "variants": source.variants | {variant: file},
            "variant_backends": source.variant_backends | {variant: backends},
            "evaluation": source.evaluation | {"variants": variants},
        }
        return source.model_copy(update=changes)

    directory = publish(models_dir, source.name, files, manifest)
    return ModelRepository(models_dir).open(source.name, directory.name)
