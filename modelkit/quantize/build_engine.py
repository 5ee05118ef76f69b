"""TensorRT engines ahead of time: built into the cache that services read, compared with float32, timed, written down.

Needs no more than serving does, unless pictures are to judge.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from modelkit.judging.floor import below_floor
from serving.models import tuning
from serving.models.backends import engines, load_backend
from serving.models.backends.buckets import bucket_sizes
from serving.models.backends.gpu import GpuSettings, require, runtime_version, tensorrt_version
from serving.models.tuning import DEFAULT_VARIANT, FULL_PRECISION, QUANTIZED_VARIANTS, Candidate, Measurement
from serving.repository.repository import StoredModel

if TYPE_CHECKING:
    from modelkit.quantize.judge import Figures, Judge

REPORT_FILE = "report.json"


class EngineRefusedError(RuntimeError):
    """The engine is not kept, or cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What pictures say of it: before is float32 on ONNX Runtime's CPU, after the engine."""

    before: Figures
    after: Figures
    loss: float
    gate: float
    passed: bool
    reported_before: Figures
    reported_after: Figures


def build_engine(
    stored: StoredModel,
    precision: str,
    settings: GpuSettings,
    *,
    judge: Judge | None = None,
    gate: float = 0.01,
    seconds: float = 0.5,
) -> dict[str, Any]:
    """Builds a model's engine, if the cache has none that fits, and measures it.

    Args:
        stored: the model.
        precision: `fp16`, or `int8` of a model whose int8 variant passed its gate on TensorRT.
        settings: largest batch, and where engines are kept.
        judge: of the model; without one, the largest difference of a score on a made-up input decides.
        gate: largest loss of accuracy allowed.
        seconds: for each measurement.

    Returns:
        The report, which also lies beside the engine.

    Raises:
        GpuMissingError: no GPU or no TensorRT can be used.
        EngineRefusedError: there is no such variant, or the engine loses more than allowed.
        EngineError: it cannot be built or kept.
        ModelLoadError: TensorRT cannot load the model.
    """
    gpu = require("tensorrt")
    manifest, variant = stored.manifest, precision if precision in QUANTIZED_VARIANTS else DEFAULT_VARIANT
    if variant != DEFAULT_VARIANT and "tensorrt" not in manifest.variant_backends.get(variant, ()):
        raise EngineRefusedError(
            f"{manifest.name} {manifest.version} has no {variant} variant that passed its gate on TensorRT; make "
            f"one on this machine: ferry models quantize {manifest.name} --activations int8 --data DIR"
        )
    cached = engines.is_built(stored, precision, variant, settings)
    folder = engines.build(stored, precision, variant, settings) if not cached else None
    key = engines.engine_key(stored, precision, variant, gpu, settings.max_batch)
    folder = folder or engines.EngineCache.of(settings).folder(key)
    kinds = [
        ("onnxruntime", FULL_PRECISION, DEFAULT_VARIANT),
        ("cuda", FULL_PRECISION, DEFAULT_VARIANT),
        ("tensorrt", precision, variant),
    ]
    batches = bucket_sizes(settings.max_batch)
    tried = [Candidate(backend, kind, 1, batch, own) for backend, kind, own in kinds for batch in batches]
    measured = tuning.measure(stored, tried, seconds, settings)
    verdict = None if judge is None else _judge(stored, kinds[-1], judge, gate, settings)
    difference = max(m.difference for m in measured if m.candidate.backend == "tensorrt")
    if verdict is None and variant == DEFAULT_VARIANT and difference > tuning.MAX_REDUCED_DIFFERENCE:
        reason = f"its scores differ by {difference:.4f} from float32's, more than {tuning.MAX_REDUCED_DIFFERENCE}"
    elif verdict is not None and not verdict.passed:
        low = below_floor(verdict.after)
        reason = low or f"it loses {verdict.loss:.4f}, more than its gate of {gate:g}"
    else:
        reason = ""
    report = {
        "model": manifest.name,
        "version": manifest.version,
        "precision": precision,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "onnxruntime": runtime_version(),
        "tensorrt": tensorrt_version(),
        "profile": key.profile,
        "engine": str(folder),
        "was_built_before": cached,
        "difference": difference,
        "verdict": None if verdict is None else asdict(verdict),
        "measurements": [asdict(m) for m in measured],
    }
    _keep(stored, measured, None if verdict is None else verdict.passed)
    if reason:
        shutil.rmtree(folder, ignore_errors=True)
        raise EngineRefusedError(f"{manifest.name} in {precision} on {gpu.name}: {reason}; its engine is not kept")
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=1) + "\n")
    return report


def _judge(stored: StoredModel, how: tuple[str, str, str], judge: Judge, gate: float, settings: GpuSettings) -> Verdict:
    from modelkit.quantize.judge import loss
    from modelkit.quantize.search import passes

    exact, engine = load_backend(stored.file()), engines.load_on_gpu(stored, *how, settings)
    before, after = judge.held_back(exact), judge.held_back(engine)
    lost = loss(before, after)
    reported = judge.reported(exact), judge.reported(engine)
    return Verdict(before, after, lost, gate, passes(after, lost, gate), *reported)


def _keep(stored: StoredModel, measured: list[Measurement], passed: bool | None) -> None:
    """Adds to what is known of this machine; services choose by it."""
    if passed is not None:
        measured = [replace(m, passed=passed) if m.candidate.backend == "tensorrt" else m for m in measured]
    new = {m.candidate for m in measured}
    tuning.write(stored, [*measured, *(m for m in tuning.read(stored) if m.candidate not in new)])
