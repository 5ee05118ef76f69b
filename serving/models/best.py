"""Which of the ways that were measured is best, under load and at rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from serving.cpu import available_cpus
from serving.models.kept import VARIANTS
from serving.models.ways import FULL_PRECISION, Candidate, Measurement
from serving.repository.manifest import Task

ROW_ALONE = {Task.CLASSIFY: 1.05, Task.DETECT: 0.8}
"""What a row that runs alone counts as, of its cost. Where there is nothing in it classifiers take more rows, since
what is done around each run is done less often. A detector's runs are long: with more rows the first would wait for the
last, classifiers for a CPU, and a large run's data leave the caches, so more rows have to save a good part."""
MANY_THREADS = 1.25
"""What a run of several threads counts as under load, of its cost. They do the arithmetic of one thread, and wait for
each other besides: where it was measured, that is 5 to 60 % more CPU. Where it seems less, the measurement is likelier
to be wrong: a disturbed figure was a third too high. So it has to be a fifth less."""
LARGE = 1.15
"""What OpenVINO counts as for a detector in float32, of its cost: it holds buffers for each shape and number of rows,
twice ONNX Runtime's memory in all, and where both were measured the CPU time they take is within 6 % of each other."""
_WORTHWHILE_MS, _WORTHWHILE_SHARE = 4.0, 0.25
"""What all CPUs on one row have to save, of a run's milliseconds, for a second copy of the model to be held."""
MAX_REDUCED_DIFFERENCE = 0.02
"""Largest difference of any class score from float32, on the probe batch, that a reduced precision may have."""


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


def best_way(measurements: Iterable[Measurement], *, reduced: bool, task: Task = Task.CLASSIFY) -> Candidate | None:
    """By throughput under load and by latency at rest, of those allowed; None where nothing was measured.

    Of all arithmetics that one whose CPU time a row under load times its milliseconds for one row at rest is least. Of
    its ways that one with the least CPU a row, since services share the cores of a machine; several threads of a run,
    or a detector's several rows, have to be clearly cheaper. `rest` is set where all CPUs on one row save enough to be
    worth a second copy of the model.
    """
    kinds: dict[tuple[str, str, str], list[Measurement]] = {}
    for m in measurements:
        if is_allowed(m, reduced=reduced):
            kinds.setdefault(m.candidate.arithmetic, []).append(m)
    if not kinds:
        return None
    found = min((_of_kind(own, task) for own in kinds.values()), key=lambda way: way[0])
    return found[1]


def _of_kind(own: list[Measurement], task: Task) -> tuple[float, Candidate]:
    """How good an arithmetic is, less being better, and its best way."""
    busy = min(own, key=partial(_cost, task=task))
    singles = [m for m in own if m.candidate.batch == 1] or own
    rest = min(singles, key=lambda m: m.run_ms)
    score, how = _cost(busy, task) * rest.run_ms, busy.candidate
    if task is Task.DETECT and (how.backend, how.precision) == ("openvino", FULL_PRECISION):
        score *= LARGE
    same = [m.run_ms for m in singles if (m.candidate.threads, m.candidate.runs) == (how.threads, how.runs)]
    saved = min(same, default=rest.run_ms) - rest.run_ms
    if rest.candidate.threads > how.threads and saved >= max(_WORTHWHILE_MS, _WORTHWHILE_SHARE * rest.run_ms):
        how = replace(how, rest=rest.candidate.threads)
    most = max(m.candidate.batch for m in own)
    # Where no more rows than one were tried, only a detector on a CPU is better with one.
    unlimited = how.batch == most and (most > 1 or task is Task.CLASSIFY or how.device != "cpu")
    return score, replace(how, batch=0) if unlimited else how


def _cost(m: Measurement, task: Task) -> float:
    """Milliseconds that a row takes of the whole machine; see `ROW_ALONE` and `MANY_THREADS`."""
    how = m.candidate
    wall = 1000 / m.rows_per_second
    alone = how.device != "cpu" or not m.cpu_ms
    threads = MANY_THREADS if how.device == "cpu" and how.threads > 1 else 1.0
    return (wall if alone else m.cpu_ms / available_cpus()) * (ROW_ALONE[task] if how.batch == 1 else 1.0) * threads
