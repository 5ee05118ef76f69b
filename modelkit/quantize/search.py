"""Finds an int8 or float16 file that loses no more than its gate allows: all layers first, then fewer of them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from modelkit.judging.floor import below_floor, require_floor
from modelkit.quantize.convert import Activations, Calibration, DynamicQuantizer, StaticQuantizer, Writer, shrink
from modelkit.quantize.graph import Coverage, blocks, coverage, layers, prepare_graph, tail
from modelkit.quantize.half import HalfConverter
from modelkit.quantize.judge import Figures, Judge, loss
from modelkit.quantize.progress import Progress
from modelkit.quantize.qat import Tuned, fine_tune
from modelkit.quantize.sensitivity import MAX_BLOCKS, Cost, layer_costs
from serving.cpu import has_vnni
from serving.models.backends import BACKENDS, GPU_BACKENDS, ModelLoadError, load_backend
from serving.models.backends.engines import make_plan
from serving.models.backends.gpu import GpuSettings, lacks
from serving.repository.repository import StoredModel

SEARCHED_ON = "onnxruntime"
"""The backend whose accuracy leads the search; the result is judged on every one."""


class Method(StrEnum):
    """How a model becomes int8, or float16."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    QAT = "qat"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to quantize.

    Attributes:
        gate: largest drop of any figure of the judge, as a share: 0.01 is one point.
        keep: blocks to keep in float, dearest first; None: as few as the gate needs.
        keep_float: nodes to keep in float besides.
        threads: of the model's runtime.
        steps: of quantization-aware fine-tuning.
        seven_bits: weights from -64 to 64, which no processor's arithmetic saturates; half as fine as eight bits.
    """

    method: Method = Method.STATIC
    calibration: Calibration = Calibration.MINMAX
    activations: Activations = Activations.UINT8
    samples: int = 512
    gate: float = 0.01
    keep: int | None = None
    keep_float: tuple[str, ...] = ()
    threads: int = 1
    steps: int = 300
    seven_bits: bool = field(default_factory=lambda: not has_vnni())

    @property
    def variant(self) -> str:
        """Name of the variant that comes of it, which is that of its precision."""
        return "fp16" if self.method is Method.FP16 else "int8"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One file that was tried, and what it lost on held-back pictures."""

    blocks_in_float: int
    coverage: Coverage
    figures: Figures
    loss: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The result on one backend."""

    before: Figures
    after: Figures
    loss: float
    passed: bool
    reported_before: Figures
    reported_after: Figures


@dataclass(frozen=True, slots=True)
class Quantized:
    """What came of it.

    Attributes:
        file: the model.
        plain_bytes: size of the same model with float32 weights.
        attempts: in the order they were made; the last one is the file.
        tuned: what fine-tuning did; None where there was none. The attempt before it is the first one.
        costs: of blocks of layers, dearest first; empty where nobody had to ask.
        backends: backend to its judgement; a backend that cannot load the file is missing.
        progress: of the fine-tuning, to be forgotten when the model is published.
    """

    file: Path
    settings: Settings
    plain_bytes: int
    attempts: tuple[Attempt, ...]
    costs: tuple[Cost, ...] = ()
    tuned: Tuned | None = None
    backends: dict[str, Judged] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def passed(self) -> tuple[str, ...]:
        """Backends on which it holds its gate."""
        return tuple(name for name, judged in self.backends.items() if judged.passed)

    def record(self) -> dict[str, Any]:
        """As plain values, for a report."""
        return {
            "settings": asdict(self.settings),
            "coverage": str(self.attempts[-1].coverage),
            "attempts": [asdict(attempt) for attempt in self.attempts],
            "costs": [asdict(cost) for cost in self.costs],
            "tuned": None if self.tuned is None else asdict(self.tuned),
            "backends": {name: asdict(judged) for name, judged in self.backends.items()},
            "passed": self.passed,
        }


def holds(lost: float, gate: float) -> bool:
    """Whether a loss is within the gate; equal is."""
    return lost <= gate + 1e-9


def passes(figures: Figures, lost: float, gate: float) -> bool:
    """Whether a loss is within the gate, and what is left is better than chance."""
    return holds(lost, gate) and not below_floor(figures)


def search(
    stored: StoredModel, judge: Judge, folder: Path, settings: Settings, keep_progress: Path | None = None
) -> Quantized:
    """Quantizes a model, or converts it to float16.

    Args:
        stored: the model.
        judge: of it.
        folder: for files on the way and the model.
        settings: how.
        keep_progress: folder where fine-tuning that is stopped is kept, and taken up.

    Raises:
        ValueError: there is nothing to quantize that way, a node to keep does not exist, or there are too few pictures
            to learn from.
        TuningError: fine-tuning came to nothing.
        ModelLoadError: the model cannot be loaded.
        BelowFloorError: the model itself is hardly better than chance.
    """
    variant, method = settings.variant, settings.method
    prepared, target = folder / "prepared.onnx", folder / f"model.{variant}.onnx"
    backend = load_backend(stored.file(), backend=SEARCHED_ON, threads=settings.threads)
    model = prepare_graph(stored.file(), prepared)
    plain_bytes = prepared.stat().st_size
    found = layers(model)
    unknown = sorted(set(settings.keep_float) - {node.name for node in model.graph.node})
    if unknown:
        some = ", ".join(layer.name for layer in found[:5])
        raise ValueError(f"there is no node {unknown[0]!r} to keep in float; the first layers are {some}")
    in_float = [*settings.keep_float, *tail(model)]
    exact = judge.held_back(backend)
    require_floor(f"{stored.manifest.name} {stored.manifest.version}", exact)
    writer = _writer(stored, judge, prepared, settings)

    def attempt(kept: Sequence[tuple[str, ...]]) -> Attempt:
        writer.write(target, keep_float=[*in_float, *(name for block in kept for name in block)])
        covered = coverage(onnx.load(target), found)
        if not covered.layers:
            raise ValueError(f"nothing of the model becomes {variant} that way: {_why(settings)}")
        shrink(target)
        figures = judge.held_back(load_backend(target, precision=variant, threads=settings.threads))
        return Attempt(len(kept), covered, figures, loss(exact, figures))

    costs, tuned, progress = list[Cost](), None, None
    attempts = [] if settings.keep and method in {Method.STATIC, Method.FP16} else [attempt(())]
    if method is Method.QAT and isinstance(writer, StaticQuantizer):
        images = judge.training()
        if keep_progress is not None:
            progress = _progress(keep_progress, stored, settings, images)
        tuned = fine_tune(
            prepared,
            writer,
            images,
            stored.manifest,
            steps=settings.steps,
            keep_float=in_float,
            seven_bits=settings.seven_bits,
            threads=settings.threads,
            progress=progress,
        )
        attempts.append(attempt(()))
    wanted = settings.keep or (settings.keep is None and not holds(attempts[-1].loss, settings.gate))
    if wanted and method is not Method.DYNAMIC:
        usable = [layer for layer in found if layer.name not in set(in_float)]
        costs = layer_costs(prepared, writer, judge, blocks(usable, MAX_BLOCKS), settings.threads)
        counts = [settings.keep] if settings.keep else _growing(len(costs))
        for count in counts:
            attempts.append(attempt([cost.layers for cost in costs[:count]]))
            if holds(attempts[-1].loss, settings.gate):
                break
    result = Quantized(target, settings, plain_bytes, tuple(attempts), tuple(costs), tuned, progress=progress)
    result.backends.update(judge_everywhere(stored, judge, target, settings))
    return result


def _writer(stored: StoredModel, judge: Judge, prepared: Path, settings: Settings) -> Writer:
    """What writes the file, calibrated where ranges are found beforehand."""
    if settings.method is Method.FP16:
        return HalfConverter(prepared)
    if settings.method is Method.DYNAMIC:
        return DynamicQuantizer(prepared, seven_bits=settings.seven_bits)
    quantizer = StaticQuantizer(prepared, settings.calibration, settings.activations, seven_bits=settings.seven_bits)
    quantizer.calibrate(stored.manifest.input.name, judge.calibration())
    return quantizer


def _progress(folder: Path, stored: StoredModel, settings: Settings, images: npt.NDArray[np.uint8]) -> Progress:
    """All that decides what fine-tuning comes to names it; the gate does not."""
    seen = hashlib.sha256(images.tobytes()).hexdigest()
    how = replace(settings, gate=0, keep=None, threads=1)
    return Progress.of(folder, stored.manifest.name, stored.manifest.digest, how, images.shape, seen)


def judge_everywhere(stored: StoredModel, judge: Judge, file: Path, settings: Settings) -> dict[str, Judged]:
    """What each backend of this machine makes of a file; one that cannot load it is missing."""
    verdicts = {}
    for name in (*BACKENDS, *(backend for backend in GPU_BACKENDS if not lacks(backend))):
        judged = _judge(stored, judge, file, (name, settings.variant), settings)
        if judged is not None:
            verdicts[name] = judged
    return verdicts


def _why(settings: Settings) -> str:
    if settings.method is Method.DYNAMIC:
        return "dynamic quantization covers MatMul and Gemm, not Conv; use --method static"
    return "every layer is kept in float"


def _growing(blocks: int) -> list[int]:
    """How many blocks to keep in float, one after the other: 1, 2, 4, … up to half of them."""
    return [2**power for power in range(blocks.bit_length()) if 2 ** (power + 1) <= blocks] or [1]


def _judge(stored: StoredModel, judge: Judge, file: Path, how: tuple[str, str], settings: Settings) -> Judged | None:
    (backend, precision), on_gpu = how, how[0] in GPU_BACKENDS
    if on_gpu and (precision, backend) not in {("int8", "tensorrt"), ("fp16", "cuda")}:
        return None
    if backend == "tensorrt" and settings.activations is not Activations.INT8:
        return None  # it takes zero points of 0 only
    with tempfile.TemporaryDirectory() as scratch:
        plan = replace(make_plan(stored, GpuSettings().max_batch), engines=Path(scratch))
        try:
            exact = load_backend(
                stored.file(), backend="cuda" if on_gpu else backend, threads=settings.threads, plan=plan
            )
            changed = load_backend(file, backend=backend, precision=precision, threads=settings.threads, plan=plan)
        except ModelLoadError:
            return None
        before, after = judge.held_back(exact), judge.held_back(changed)
        lost = loss(before, after)
        reported = judge.reported(exact), judge.reported(changed)
    return Judged(before, after, lost, passes(after, lost, settings.gate), *reported)
