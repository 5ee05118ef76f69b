"""`ferry tune`: measures how this machine runs each model best, keeps the answer beside the model, shows it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cli.models_dir import MODELS_DIR, served
from cli.output import errors, is_terminal
from cli.serve import ModelsDirOption
from serving.cpu import available_cpus, cpu_name
from serving.models import delivered, tuning
from serving.models.backends.gpu import GpuSettings, find_gpu
from serving.models.measuring import LEAST_SHARE, quiet_share
from serving.models.ways import splits
from serving.repository.manifest import MANIFEST_FILE, Task
from serving.repository.repository import InvalidModelError, StoredModel

WAITING = (1, 8, 32)
"""Rows that wait at once."""
MOST_ROWS = {Task.CLASSIFY: 16, Task.DETECT: 4}
"""Of one run, as services allow by default."""
_PATIENCE_SECONDS = 1.0
"""What disturbs the machine for less than that disturbs no measurement."""


def tune(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Models; all by default.")] = None,
    *,
    models_dir: ModelsDirOption = MODELS_DIR,
    engine_cache: Annotated[
        Path | None, typer.Option(envvar="FERRY_ENGINE_CACHE", help="Folder of TensorRT's engines.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.05, max=60, help="Time for each way of running a model.")] = 0.5,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Keep what was measured although others were at work.")
    ] = False,
    deliver: Annotated[
        bool,
        typer.Option("--deliver", help="Deliver it with the model, for other machines of this kind."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Measure backends, precisions, threads, runs at once and batch sizes on this machine.

    Services started afterwards use what was found fastest in float32, and, with --optimized, also reduced precision
    whose accuracy `ferry models optimize` or `quantize` has found good, or whose scores stay within 0.02 of float32.
    Each model then runs as it costs the least CPU a row where much waits, and with all CPUs on one row where nothing
    else does. Stop other work first: what is measured on a busy machine is not kept. Where there is a GPU with
    TensorRT, engines that are not in the cache yet are built, which takes minutes.
    """
    stored = served(models_dir, names or ())
    console = Console(stderr=as_json, width=None if is_terminal(sys.stdout) else 120)
    shares = list(splits(available_cpus(), every=True))
    reports: list[_Report] = []
    failed: list[str] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(stored) * len(shares))
        for model in stored:
            measurements: list[tuning.Measurement] = []
            got, most = quiet_share(available_cpus(), _PATIENCE_SECONDS), MOST_ROWS[model.manifest.task]
            try:
                for threads, runs in shares:
                    progress.update(task, description=f"{model.manifest.name}, {runs} run(s) of {threads} thread(s)")
                    sizes = sorted({min(most, -(-waiting // runs)) for waiting in WAITING})
                    tried = tuning.candidates(threads, sizes, reduced=True, manifest=model.manifest, runs=runs)
                    measurements += tuning.measure(model, tried, seconds, GpuSettings(most, engine_cache))
                    got = min(got, quiet_share(available_cpus(), _PATIENCE_SECONDS))
                    progress.advance(task)
            except InvalidModelError as error:
                failed.append(f"{error}; {_remedy(model)}")
                continue
            worth = got >= LEAST_SHARE or keep_anyway
            kept = tuning.write(model, measurements) if worth else None
            wrong = ""
            if deliver and worth:
                try:
                    kept = delivered.write(model, [asdict(m) for m in measurements])
                except OSError as error:
                    wrong = f"not delivered with {model.manifest.name}: {error}"
            reports.append(_Report(model, measurements, kept, got, worth, wrong))
    if as_json:
        print(json.dumps([_record(report) for report in reports], indent=2))
    else:
        gpu = find_gpu()
        console.print(f"{cpu_name()}, {available_cpus()} CPUs{f', {gpu.name}' if gpu else ''}")
        for report in reports:
            console.print(_table(report))
    failed += [report.wrong for report in reports if report.wrong]
    for line in failed:
        errors.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Report:
    """Of one model; share: of the CPUs that measuring got; worth: whether it was to be kept; wrong: why it is not
    delivered, where it should be."""

    model: StoredModel
    measurements: list[tuning.Measurement]
    kept: Path | None
    share: float
    worth: bool
    wrong: str

    @property
    def where(self) -> str:
        if self.kept is not None:
            return f"kept in {self.kept.name}"
        if not self.worth:
            return f"not kept: others were at work, measuring got {self.share:.0%} of the CPUs"
        return "not kept: nowhere to write, or no room on the disk"


def _remedy(model: StoredModel) -> str:
    """What to do about a model that does not answer as its manifest says."""
    return f"correct {model.directory / MANIFEST_FILE}, and see with `ferry models verify {model.manifest.name}`"


def _record(report: _Report) -> dict[str, object]:
    return {
        "model": report.model.manifest.name,
        "version": report.model.manifest.version,
        "machine": cpu_name(),
        "cpus": available_cpus(),
        "gpu": getattr(find_gpu(), "name", None),
        "kept": None if report.kept is None else str(report.kept),
        "cpu_share": report.share,
        "chosen": {
            name: asdict(how)
            for name, reduced in (("default", False), ("optimized", True))
            if (how := _best(report, reduced=reduced)) is not None
        },
        "measurements": [asdict(m) for m in report.measurements],
    }


def _best(report: _Report, *, reduced: bool) -> tuning.Candidate | None:
    return tuning.best_way(report.measurements, reduced=reduced, task=report.model.manifest.task)


def _table(report: _Report) -> Table:
    manifest, measurements = report.model.manifest, report.measurements
    marks: dict[tuning.Candidate, list[str]] = {}
    for name, reduced in (("default", False), ("--optimized", True)):
        how = _best(report, reduced=reduced)
        if how is not None:
            _mark(marks, measurements, how, name)
    table = Table(title=f"{manifest.name} {manifest.version} ({report.where})", title_justify="left")
    for column in ("backend", "precision", "runs", "threads", "rows", "run ms", "rows/s", "CPU ms", "difference", ""):
        numeric = column not in {"backend", "precision", ""}
        table.add_column(column, justify="right" if numeric else "left")
    for m in measurements:
        c = m.candidate
        table.add_row(
            c.backend,
            c.precision,
            str(c.runs),
            str(c.threads),
            str(c.batch),
            f"{m.run_ms:.2f}",
            f"{m.rows_per_second:.1f}",
            f"{m.cpu_ms:.2f}",
            f"{m.difference:.4f}",
            ", ".join(marks.get(c, ())),
        )
    return table


def _mark(
    marks: dict[tuning.Candidate, list[str]],
    measurements: list[tuning.Measurement],
    how: tuning.Candidate,
    name: str,
) -> None:
    """Says of the ways that were chosen what for."""
    own = [m for m in measurements if m.candidate.arithmetic == how.arithmetic]
    same = [m for m in own if (m.candidate.threads, m.candidate.runs) == (how.threads, how.runs)]
    rows = [m for m in same if m.candidate.batch == how.batch] or same
    marks.setdefault(min(rows, key=lambda m: m.cpu_ms).candidate, []).append(name)
    if how.rest:
        rest = next(m for m in own if (m.candidate.threads, m.candidate.runs, m.candidate.batch) == (how.rest, 1, 1))
        marks.setdefault(rest.candidate, []).append(f"{name} at rest")
