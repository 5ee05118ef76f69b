"""Which backend runs a model fastest on this machine: measured once, kept beside the model, shown on request.

A measurement holds for one kind of machine and one set of library versions; elsewhere it is made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import numpy.typing as npt

from serving.activation import softmax
from serving.cpu import available_cpus, has_bf16
from serving.models.backends import BACKENDS, GPU_BACKENDS, engines, installed, load_backend
from serving.models.backends.base import Backend, ModelLoadError, Outputs
from serving.models.backends.elastic import ElasticBackend
from serving.models.backends.gpu import GpuSettings, lacks, require
from serving.models.best import MAX_REDUCED_DIFFERENCE, best_way, is_allowed
from serving.models.kept import QUANTIZED_VARIANTS, VARIANTS, machine_id, read, write
from serving.models.measuring import (
    LEAST_SHARE,
    MOST_LOOKS,
    Timing,
    agreed,
    alone,
    least,
    probe,
    quiet_share,
    timed,
)
from serving.models.outputs import check_outputs
from serving.models.ways import DEFAULT_VARIANT, FULL_PRECISION, Candidate, Measurement, splits
from serving.repository.manifest import Manifest, Task
from serving.repository.repository import StoredModel

__all__ = [
    "DEFAULT_VARIANT",
    "FULL_PRECISION",
    "MAX_REDUCED_DIFFERENCE",
    "QUANTIZED_VARIANTS",
    "VARIANTS",
    "Candidate",
    "Measurement",
    "best_way",
    "candidates",
    "choose",
    "is_allowed",
    "load",
    "machine_id",
    "measure",
    "open_fastest",
    "probe",
    "read",
    "write",
]

log = logging.getLogger(__name__)

MANY_ROWS = {Task.CLASSIFY: 8, Task.DETECT: 2}
"""Rows of a run where much waits, as measured at a start: enough to see whether more rows make each one cheaper."""
_PATIENCE_SECONDS = 60.0
_QUIET_SECONDS = 3.0
"""Services that start together disturb each other for about that long."""
_CALM_SECONDS = 1.0
"""A machine that is not quiet for so long after measuring was not quiet meanwhile either."""


def candidates(
    threads: int, batches: Iterable[int], *, reduced: bool, manifest: Manifest | None = None, runs: int = 1
) -> list[Candidate]:
    """Every way this machine offers, float32 on ONNX Runtime first.

    Args:
        threads: of one run.
        batches: rows of one run.
        reduced: less than float32 too.
        manifest: of the model; its variants are offered where they passed their gate.
        runs: at once; a GPU makes one after the other, whatever is asked for.
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
        Candidate(backend, precision, threads, batch, variant, runs)
        for backend, precision, variant in kinds
        for batch in batches
        if runs == 1 or backend in on_cpu
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
    open_ = partial(load_backend, stored.file(how.variant), backend=how.backend, precision=how.precision)
    busy = open_(threads=how.threads, concurrency=how.runs)
    return busy if how.rest <= how.threads else ElasticBackend(open_(threads=how.rest), busy)


def measure(
    stored: StoredModel, tried: Iterable[Candidate], seconds: float = 0.25, gpu: GpuSettings = GpuSettings()
) -> list[Measurement]:
    """Runs each candidate for about `seconds`; one that cannot be loaded is left out, with a line in the log.

    Half of that when it has been loaded, and half when the next one has been, so that what disturbs the machine for a
    moment is not all that is seen of a candidate. Where the two differ it is looked at again. At most two are held.
    What is already known of a candidate's accuracy is kept.

    Args:
        stored: the model.
        tried: what is loaded together stands together.
        seconds: for each; 0: it is run for its scores, and its speed does not count.
        gpu: how models are run there.

    Raises:
        InvalidModelError: the model does not answer as its manifest says.
    """
    verdicts = {m.candidate.arithmetic: m.passed for m in read(stored)}
    results: list[Measurement] = []
    reference: dict[int, Outputs] = {}
    before: list[_Trial] = []
    most = MOST_LOOKS if seconds else 1
    for _, together in groupby(tried, lambda c: (c.arithmetic, c.threads, c.runs)):
        ways = list(together)
        try:
            backend = load(stored, ways[0], gpu)
        except (ModelLoadError, engines.EngineError) as error:
            log.warning("%s", error)
            continue
        now: list[_Trial] = []
        for candidate in ways:
            rows = probe(stored.manifest.input, candidate.batch)
            outputs = backend.warm(rows)
            check_outputs(stored.manifest, outputs, candidate.batch)
            reference.setdefault(candidate.batch, outputs)
            name = stored.manifest.output.scores
            difference = _difference(outputs[name], reference[candidate.batch][name], stored)
            look = partial(timed, backend.run, rows, candidate.runs, seconds / 2)
            now.append(_Trial(candidate, difference, verdicts.get(candidate.arithmetic), look, [look()]))
        results += _finished(before, most)
        before = now
    return results + _finished(before, most)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A candidate that is loaded, and what was seen of it so far; `look` sees more."""

    candidate: Candidate
    difference: float
    passed: bool | None
    look: Callable[[], Timing]
    looks: list[Timing]


def _finished(trials: list[_Trial], most: int) -> list[Measurement]:
    """Looks at all of them in turns, until each has been seen alike twice, or `most` times."""
    while left := [trial for trial in trials if len(trial.looks) < most and not agreed(trial.looks)]:
        for trial in left:
            trial.looks.append(trial.look())
    results: list[Measurement] = []
    for trial in trials:
        best = least(trial.looks)
        figures = best.rows_per_second, best.run_ms, trial.difference, trial.passed, best.cpu_ms
        results.append(Measurement(trial.candidate, *figures))
    return results


def _difference(actual: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], stored: StoredModel) -> float:
    if stored.manifest.detection is not None:  # rows below the box are scores already
        actual, expected = actual[:, 4:], expected[:, 4:]
    else:
        actual, expected = softmax(actual), softmax(expected)
    return float(np.abs(actual - expected).max(initial=0))


def choose(
    stored: StoredModel,
    *,
    threads: int = 0,
    runs: int = 0,
    backend: str = "auto",
    reduced: bool = False,
    device: str = "auto",
    gpu: GpuSettings = GpuSettings(),
    like: Candidate | None = None,
) -> Candidate:
    """How to run the model, under load and at rest: as tuned, else as measured now, and kept.

    On a machine that stays busy nothing is measured: it would take long, and say more of the others than of the model.
    Then the model runs in float32 in the way that pays wherever it was measured.

    TensorRT takes part where its engine is built already, or where it is asked for by name.

    Args:
        stored: the model.
        threads: of one run; 0: as tuned, else as many as there are CPUs.
        runs: at once; 0: as tuned.
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
    shares = _shares(threads, runs)
    offered = [
        c
        for count, at_once in shares
        for c in candidates(count, (1,), reduced=True, manifest=stored.manifest, runs=at_once)
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
    # What was measured for a service with other settings says nothing of this one: a single run at a time costs least.
    fitting = {*shares, *(() if threads or runs else splits(available_cpus(), every=True))}
    usable = _known(stored, fitting)
    needed = _told_apart(wanted)
    kinds = {c.arithmetic for c in wanted}
    # What nothing competes with need not be measured.
    if len(needed) > 1 and not needed <= _told_apart(m.candidate for m in usable):
        if like is not None:
            return _as(like, stored, wanted, threads, gpu)
        if len(kinds) == 1:
            return _unmeasured(wanted, stored)
        tried = [c for c in offered if c.device == "cpu" or device != "cpu"]
        with alone(_PATIENCE_SECONDS):
            # Another process that was started with this one may have measured meanwhile.
            usable = _known(stored, fitting)
            if not needed <= _told_apart(m.candidate for m in usable):
                usable = _measure_and_keep(stored, tried, gpu, busy=shares[-1])
        if not usable:
            return _unmeasured(_by_custom(wanted, stored), stored)
    asked = [m for m in usable if backend in {"auto", m.candidate.backend} and device in {"auto", m.candidate.device}]
    asked = [m for m in asked if m.candidate.device == "cpu" or m.candidate.arithmetic in kinds]
    return best_way(asked, reduced=reduced, task=stored.manifest.task) or replace(wanted[0], batch=0)


def _known(stored: StoredModel, fitting: Container[tuple[int, int]]) -> list[Measurement]:
    """What is kept, on CPUs only of these threads of a run and runs at once."""
    kept = read(stored)
    return [m for m in kept if m.candidate.device != "cpu" or (m.candidate.threads, m.candidate.runs) in fitting]


def _told_apart(ways: Iterable[Candidate]) -> set[tuple[tuple[str, str, str], int, int]]:
    """Arithmetic, threads of a run and runs at once, which have to be measured each; on a GPU the first alone."""
    return {(w.arithmetic, w.threads, w.runs) if w.device == "cpu" else (w.arithmetic, 0, 1) for w in ways}


def _unmeasured(wanted: list[Candidate], stored: StoredModel) -> Candidate:
    """Many runs of few threads, which cost the least CPU wherever measured; for a detector a row each, and, its runs
    being long enough for it, all threads on one row at rest."""
    rest, busy = wanted[0], wanted[-1]
    if stored.manifest.task is not Task.DETECT:
        return replace(busy, batch=0)
    return replace(busy, batch=1, rest=rest.threads if rest.threads > busy.threads else 0)


def _by_custom(wanted: list[Candidate], stored: StoredModel) -> list[Candidate]:
    """Ways in float32, where there are such, by the backend that was better wherever it was measured: for detectors
    ONNX Runtime, which computes as much in half of the memory; for classifiers OpenVINO, which computes a quarter
    more."""
    full = [c for c in wanted if c.precision == FULL_PRECISION] or wanted
    liked = "onnxruntime" if stored.manifest.task is Task.DETECT else "openvino"
    first = next((c for c in full if c.backend == liked), full[0])
    return [c for c in full if c.arithmetic == first.arithmetic]


def _shares(threads: int, runs: int) -> list[tuple[int, int]]:
    """Threads of a run and runs at once that come into question, the way at rest first."""
    cpus = available_cpus()
    if runs:
        return list(dict.fromkeys([(threads or cpus, 1), (threads or 1, runs)]))
    if threads:
        return [(threads, 1), *([(threads, cpus // threads)] if cpus >= 2 * threads else [])]
    return list(splits(cpus))


def _measure_and_keep(
    stored: StoredModel, offered: list[Candidate], gpu: GpuSettings, *, busy: tuple[int, int]
) -> list[Measurement]:
    """Nothing where others keep the machine busy; what is disturbed meanwhile is used, and not kept.

    To be called `alone`.

    Args:
        busy: threads of a run and runs at once while much waits; so more rows are tried too.
    """
    cpus = available_cpus()
    tried: dict[Candidate, None] = {}
    for c in offered:
        tried[c] = None
        if (c.threads, c.runs) == busy:
            tried[replace(c, batch=MANY_ROWS[stored.manifest.task])] = None
    share = quiet_share(cpus, _QUIET_SECONDS)
    if share < LEAST_SHARE:
        log.info(
            "%s is not measured, since others are at work (it gets %d %% of its CPUs); `ferry tune` measures",
            stored.manifest.name,
            round(share * 100),
        )
        return []
    usable = measure(stored, tried, seconds=0.1, gpu=gpu)
    share = quiet_share(cpus, _CALM_SECONDS)
    if share < LEAST_SHARE:
        log.warning(
            "%s was measured on a busy machine (it got %d %% of its CPUs): not kept; `ferry tune` measures anew",
            stored.manifest.name,
            round(share * 100),
        )
        return usable
    again = {m.candidate for m in usable}
    write(stored, [*usable, *(m for m in read(stored) if m.candidate not in again)])
    return usable


def _as(like: Candidate, stored: StoredModel, wanted: list[Candidate], threads: int, gpu: GpuSettings) -> Candidate:
    """The way that is most like another version's; a reduced precision only if its scores are close to float32's."""
    exact = next((c for c in wanted if (c.backend, c.precision) == (like.backend, FULL_PRECISION)), wanted[0])
    same = next((c for c in wanted if c.arithmetic == like.arithmetic), exact)
    if same.precision != FULL_PRECISION:
        compared = measure(stored, dict.fromkeys((wanted[0], same)), seconds=0, gpu=gpu)
        if not any(m.candidate == same and is_allowed(m, reduced=True) for m in compared):
            same = exact
    if same.device != like.device:
        return replace(same, threads=threads or same.threads)
    return replace(same, threads=threads or like.threads, runs=like.runs, rest=like.rest, batch=like.batch)


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
    runs: int = 0,
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
    how = choose(
        stored, threads=threads, runs=runs, backend=backend, reduced=reduced, device=device, gpu=gpu, like=like
    )
    try:
        return how, load(stored, how, gpu)
    except (ModelLoadError, engines.EngineError) as error:
        if how.device == "cpu" or device == "cuda" or backend != "auto":
            raise
        log.warning("no GPU for %s, the CPU takes its place: %s", stored.manifest.name, error)
    how = choose(stored, threads=threads, runs=runs, reduced=reduced, device="cpu", like=like)
    return how, load(stored, how)
