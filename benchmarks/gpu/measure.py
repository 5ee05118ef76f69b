"""Runs every way of every model, one after the other, and keeps what is known so far."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.compare import Agreement, agreement, read_pictures, scores
from benchmarks.gpu.ways import BASE, Way, ways
from serving.models.backends.timing import median_ms
from serving.models.tuning import probe
from serving.repository.repository import StoredModel


@dataclass(frozen=True, slots=True)
class Speed:
    """Of runs one after the other, rows copied to the device and answers back: median milliseconds of one."""

    batch: int
    run_ms: float

    @property
    def rows_per_second(self) -> float:
        return self.batch * 1000 / self.run_ms


@dataclass(slots=True)
class Found:
    """What is known of a way to run a model.

    Attributes:
        load_s: seconds to load it and to run each batch size once.
        agreement: with the CPU in float32; None where it was not compared.
        note: of the way itself, or why it was not measured.
    """

    model: str
    way: str
    load_s: float | None = None
    speeds: list[Speed] = field(default_factory=list)
    agreement: Agreement | None = None
    note: str = ""

    def record(self) -> dict[str, Any]:
        """As plain values."""
        plain = asdict(self)
        plain["speeds"] = [asdict(speed) | {"rows_per_second": speed.rows_per_second} for speed in self.speeds]
        return plain


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        batches: rows of a run, ascending.
        seconds: for each batch size.
        pictures: to compare answers on.
        data: folder with pictures; None: parts of a sample photo are taken.
        budget: seconds for all models, a like share for each: after it no other way of that model is begun.
        gpu: whether to use one.
    """

    batches: Sequence[int]
    seconds: float
    pictures: int
    data: Path | None
    budget: float
    gpu: bool


def measure(models: Sequence[StoredModel], plan: Plan, scratch: Path) -> Iterator[Found]:
    """Yields what is found, each when it is complete.

    Args:
        models: to run.
        plan: what to measure.
        scratch: folder for files made on the way.
    """
    begin = time.monotonic()
    for number, stored in enumerate(models, 1):
        end = begin + plan.budget * number / len(models)
        rows = read_pictures(stored.manifest, plan.data, plan.pictures)
        wanted = None
        for way in ways(stored, plan.batches[-1], scratch, gpu=plan.gpu):
            found = Found(stored.manifest.name, way.name)
            if time.monotonic() > end and way.name != BASE:
                found.note = "skipped: no time was left"
                yield found
                continue
            try:
                run = _time(stored, way, plan, found)
                if way.answers and way.most_rows is None:
                    actual = scores(run, rows, stored.manifest)
                    wanted = actual if way.name == BASE else wanted
                    found.agreement = None if wanted is None else agreement(actual, wanted)
            except Exception as error:
                found.note = f"skipped: {type(error).__name__}: {error}"[:500]
            yield found


def _time(stored: StoredModel, way: Way, plan: Plan, found: Found) -> Any:
    batches = [batch for batch in plan.batches if way.most_rows is None or batch <= way.most_rows]
    inputs = [probe(stored.manifest.input, batch) for batch in batches]
    started = time.perf_counter()
    opened = way.open()
    for rows in inputs:
        opened.run(rows)
    found.load_s = time.perf_counter() - started
    for batch, rows in zip(batches, inputs, strict=True):
        (run_ms,) = median_ms([partial(opened.run, rows)], plan.seconds)
        found.speeds.append(Speed(batch, run_ms))
    found.note = opened.note()
    return opened.run
