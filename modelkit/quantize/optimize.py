"""The fastest way to run a model on this machine that loses no more accuracy than its gate allows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modelkit.judging.floor import require_floor
from modelkit.quantize.judge import Figures, Judge, loss
from modelkit.quantize.plots import Point, draw_pareto
from modelkit.quantize.release import publish_quantized, trial_version
from modelkit.quantize.search import Quantized, Settings, passes, search
from serving.cpu import available_cpus, cpu_name
from serving.models import tuning
from serving.models.tuning import Candidate, Measurement
from serving.repository.repository import StoredModel

Arithmetic = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Way:
    """A backend with a precision: its accuracy, and its speed in the best of the batches and threads tried.

    Attributes:
        loss: against float32 on ONNX Runtime; a share.
        passed: float32 always; less where the loss is within the gate.
        run_ms: of one row.
    """

    backend: str
    precision: str
    figures: Figures
    loss: float
    passed: bool
    run_ms: float
    rows_per_second: float

    @property
    def name(self) -> str:
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True, slots=True)
class Optimized:
    """What was found.

    Attributes:
        ways: float32 on ONNX Runtime first.
        best: runs one row fastest of all that passed.
        measurements: every one, with its verdict.
        quantized: the int8 file that was made for this, if any; `why_not` says why none passed.
    """

    stored: StoredModel
    gate: float
    ways: tuple[Way, ...]
    best: Way
    reported: dict[str, Figures]
    measurements: tuple[Measurement, ...]
    quantized: Quantized | None
    why_not: str

    @property
    def base(self) -> Way:
        return self.ways[0]

    @property
    def brings_a_file(self) -> bool:
        """Whether the best way needs a file that the model does not have yet."""
        return self.quantized is not None and self.best.precision in tuning.QUANTIZED_VARIANTS

    def record(self) -> dict[str, Any]:
        """As plain values, for a report."""
        manifest = self.stored.manifest
        return {
            "model": manifest.name,
            "source_version": manifest.version,
            "machine": cpu_name(),
            "cpus": available_cpus(),
            "gate": self.gate,
            "best": asdict(self.best),
            "speedup": {
                "latency": self.base.run_ms / self.best.run_ms,
                "throughput": self.best.rows_per_second / self.base.rows_per_second,
            },
            "ways": [asdict(way) for way in self.ways],
            "reported": self.reported,
            "measurements": [asdict(m) for m in self.measurements],
            "quantized": None if self.quantized is None else self.quantized.record(),
            "why_no_int8": self.why_not,
        }

    def draw(self, path: Path) -> None:
        """Accuracy against latency as a small PNG."""
        manifest = self.stored.manifest
        points = [Point(way.name, way.run_ms, way.loss) for way in self.ways]
        draw_pareto(f"{manifest.name} {manifest.version}, one row", points, self.gate, path)


def optimize(
    stored: StoredModel,
    judge: Judge,
    folder: Path,
    settings: Settings,
    *,
    batches: Sequence[int] = (1, 4, 16),
    seconds: float = 0.5,
) -> Optimized:
    """Tries backends, precisions, threads and batch sizes.

    Args:
        stored: the model; if it has no int8 variant, one is made.
        judge: of it.
        folder: for the int8 file.
        settings: of quantization; its gate holds for every precision.
        batches: rows of a run; 1 among them.
        seconds: for each measurement.

    Raises:
        ModelLoadError: ONNX Runtime cannot load the model.
        BelowFloorError: the model itself is hardly better than chance.
    """
    quantized, why_not = None, ""
    if not any(v in stored.manifest.variant_backends for v in tuning.QUANTIZED_VARIANTS):
        try:
            quantized = search(stored, judge, folder, settings)
        except ValueError as error:
            why_not = str(error)
        if quantized is not None and not quantized.passed:
            why_not = f"int8 loses {min(a.loss for a in quantized.attempts):.4f} at best"
            quantized = None
    with tempfile.TemporaryDirectory() as scratch:
        trial = stored if quantized is None else trial_version(stored, quantized, Path(scratch), quantized.passed)
        measured: list[Measurement] = []
        for threads in sorted({1, available_cpus()}):
            tried = tuning.candidates(threads, batches, reduced=True, manifest=trial.manifest)
            measured += tuning.measure(trial, tried, seconds)
        firsts: dict[Arithmetic, Candidate] = {}
        for m in measured:
            firsts.setdefault(m.candidate.arithmetic, m.candidate)
        figures = {key: judge.held_back(tuning.load(trial, how)) for key, how in firsts.items()}
        exact = next(iter(figures.values()))
        require_floor(f"{stored.manifest.name} {stored.manifest.version}", exact)
        ways = [_way(key, measured, figures[key], loss(exact, figures[key]), settings.gate) for key in figures]
        best = min((way for way in ways if way.passed), key=lambda way: way.run_ms)
        chosen = {way.name: how for way, how in zip(ways, firsts.values(), strict=True) if way in (ways[0], best)}
        reported = {name: judge.reported(tuning.load(trial, how)) for name, how in chosen.items()}
    verdicts = {key: way.passed for key, way in zip(figures, ways, strict=True)}
    judged = tuple(replace(m, passed=verdicts[m.candidate.arithmetic]) for m in measured)
    return Optimized(stored, settings.gate, tuple(ways), best, reported, judged, quantized, why_not)


def keep(found: Optimized, models_dir: Path, report: dict[str, Any]) -> tuple[StoredModel, Path | None]:
    """Publishes the int8 file where it is the best way, and keeps the measurements for services on this machine.

    Returns:
        The version that runs fastest: a new one, a candidate, or the source itself; and where measurements are kept.

    Raises:
        WriteError: another publish of this model is running.
    """
    stored, measurements = found.stored, list(found.measurements)
    if found.brings_a_file and found.quantized is not None:
        with tempfile.TemporaryDirectory() as scratch:
            plot = Path(scratch) / "plot.png"
            found.draw(plot)
            stored = publish_quantized(stored, found.quantized, models_dir, report, plot)
    elif found.quantized is not None:
        measurements = [m for m in measurements if m.candidate.variant == tuning.DEFAULT_VARIANT]
    return stored, tuning.write(stored, measurements)


def _way(key: Arithmetic, measured: Sequence[Measurement], figures: Figures, lost: float, gate: float) -> Way:
    own = [m for m in measured if m.candidate.arithmetic == key]
    backend, precision, _ = key
    return Way(
        backend,
        precision,
        figures,
        lost,
        precision == tuning.FULL_PRECISION or passes(figures, lost, gate),
        min(m.run_ms for m in own if m.candidate.batch == 1),
        max(m.rows_per_second for m in own),
    )
