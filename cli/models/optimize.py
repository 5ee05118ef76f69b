"""`ferry models optimize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.models.common import WORK_DIR, DataOption, ModelsOption, ThreadsOption, WorkOption, explained, say_next
from cli.models.quantize import CalibrationOption, GateOption, LimitOption, SamplesOption, VersionOption
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, answers, print_json

if TYPE_CHECKING:
    from modelkit.quantize.optimize import Optimized


def optimize(
    name: Annotated[str, typer.Argument(help="Any model in the repository.")],
    *,
    data: DataOption,
    gate: GateOption = 0.005,
    calibration: CalibrationOption = "minmax",
    samples: SamplesOption = 512,
    limit: LimitOption = None,
    seconds: Annotated[float, typer.Option(min=0.01, max=60, help="For each measurement.")] = 0.5,
    out: Annotated[
        Path | None, typer.Option(help="Folder for optimization.json and optimization.png; a new version has both.")
    ] = None,
    version: VersionOption = "stable",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, but keep nothing.")] = False,
    work_dir: WorkOption = WORK_DIR,
    models_dir: ModelsOption = MODELS_DIR,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Find the fastest way to run a model on this machine that loses no more accuracy than the gate.

    Tries backends, precisions (an int8 variant is made if there is none), threads and batch sizes, and measures the
    accuracy of each as `quantize` does. Where int8 is the fastest, it is published as a new version; else only the
    measurements are kept, which services started with --optimized go by. Stop other work first.
    """
    with explained():
        import tempfile

        from modelkit.quantize.convert import Calibration
        from modelkit.quantize.judge import open_judge
        from modelkit.quantize.optimize import keep
        from modelkit.quantize.optimize import optimize as find
        from modelkit.quantize.search import Settings
        from serving.repository.repository import ModelRepository

        stored = ModelRepository(models_dir).open(name, version)
        judge = open_judge(stored.manifest, data, work_dir.expanduser(), samples, limit)
        settings = Settings(calibration=Calibration(calibration), samples=samples, gate=gate, threads=threads)
        with tempfile.TemporaryDirectory() as scratch:
            found = find(stored, judge, Path(scratch), settings, seconds=seconds)
            report = found.record()
            outcome, brought = "a dry run: nothing is kept", stored
            if not dry_run:
                brought, kept = keep(found, models_dir, report)
                new = brought is not stored
                outcome = f"published {brought.directory}" if new else "no new file is needed, so nothing is published"
                outcome += "; measurements could not be kept" if kept is None else f"; measurements kept in {kept}"
        if out is not None:
            import json

            out.mkdir(parents=True, exist_ok=True)
            (out / "optimization.json").write_text(json.dumps(report, indent=1) + "\n")
            found.draw(out / "optimization.png")
    if as_json:
        print_json(report | {"outcome": outcome})
        return
    _print(found)
    typer.echo(outcome)
    if brought is not stored:
        with explained():
            say_next(models_dir, name, brought.manifest.version)


def _print(found: Optimized) -> None:
    figures = list(found.base.figures)
    table = Table("", *figures, "loss", "gate", "ms a row", "rows/s", "x latency", "x throughput")
    for way in found.ways:
        table.add_row(
            f"{way.name} *" if way is found.best else way.name,
            *(f"{way.figures[figure]:.4f}" for figure in figures),
            f"{way.loss:.4f}",
            "passed" if way.passed else "failed",
            f"{way.run_ms:.2f}",
            f"{way.rows_per_second:.1f}",
            f"{found.base.run_ms / way.run_ms:.2f}",
            f"{way.rows_per_second / found.base.rows_per_second:.2f}",
        )
    answers.print(table)
    for name, shares in found.reported.items():
        answers.print(f"{name}, reported: " + ", ".join(f"{key} {share:.4f}" for key, share in shares.items()))
    if found.why_not:
        answers.print(f"no int8: {found.why_not}")
    manifest = found.stored.manifest
    answers.print(f"fastest for {manifest.name} {manifest.version} within {found.gate:g}: {found.best.name}")
