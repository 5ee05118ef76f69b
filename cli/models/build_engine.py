"""`ferry models build-engine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from cli.models.common import WORK_DIR, ModelsOption, WorkOption, explained
from cli.models.quantize import GateOption, LimitOption, VersionOption
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, answers, print_json

SAMPLES = 2
"""Nothing is calibrated here: the least that a judge can be opened with."""


def build_engine(
    name: Annotated[str, typer.Argument(help="Any model in the repository.")],
    *,
    precision: Annotated[
        Literal["fp16", "int8"], typer.Option(help="int8 needs a variant that passed its gate on TensorRT.")
    ] = "fp16",
    batch: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=1024, help="Most rows of a run: what services are told with --max-batch."),
    ] = 16,
    engine_cache: Annotated[
        Path | None,
        typer.Option(envvar="FERRY_ENGINE_CACHE", help="Where engines are kept; by default the user's cache."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the Parquet data, to judge accuracy; else a made-up input decides.")
    ] = None,
    gate: GateOption = 0.01,
    limit: LimitOption = None,
    seconds: Annotated[float, typer.Option(min=0.01, max=60, help="For each measurement.")] = 0.5,
    version: VersionOption = "stable",
    work_dir: WorkOption = WORK_DIR,
    models_dir: ModelsOption = MODELS_DIR,
    as_json: JsonOption = False,
) -> None:
    """Build a model's TensorRT engine ahead of time, so that services start fast; compare and time it on this GPU.

    Services find it by --engine-cache (or FERRY_ENGINE_CACHE) when they are started with --optimized. An engine serves
    one model file, GPU, precision, largest batch and set of library versions; for anything else, build another.
    """
    with explained():
        from serving.models.backends.gpu import GpuSettings, require
        from serving.repository.repository import ModelRepository

        stored = ModelRepository(models_dir).open(name, version)
        require("tensorrt")
        from modelkit.quantize.build_engine import build_engine as build

        judge = None
        if data is not None:
            from modelkit.quantize.judge import open_judge

            judge = open_judge(stored.manifest, data, work_dir.expanduser(), SAMPLES, limit)
        settings = GpuSettings(batch, engine_cache)
        report = build(stored, precision, settings, judge=judge, gate=gate, seconds=seconds)
        if as_json:
            print_json(report)
            return
    _print(report)


def _print(report: dict[str, Any]) -> None:
    table = Table("backend", "precision", "batch", "run ms", "rows/s", "difference")
    for m in report["measurements"]:
        candidate = m["candidate"]
        table.add_row(
            candidate["backend"],
            candidate["precision"],
            str(candidate["batch"]),
            f"{m['run_ms']:.2f}",
            f"{m['rows_per_second']:.1f}",
            f"{m['difference']:.4f}",
        )
    answers.print(
        f"{report['model']} {report['version']} on {report['gpu']} (compute capability "
        f"{report['compute_capability']}), ONNX Runtime {report['onnxruntime']}, TensorRT {report['tensorrt']}"
    )
    answers.print(table)
    verdict = report["verdict"]
    if verdict is not None:
        for figure, before in verdict["before"].items():
            answers.print(
                f"{figure}: held back {before:.4f} becomes {verdict['after'][figure]:.4f}; reported "
                f"{verdict['reported_before'][figure]:.4f} becomes {verdict['reported_after'][figure]:.4f}"
            )
    found = "was there already" if report["was_built_before"] else "built"
    answers.print(f"engine {found}: {report['engine']}", soft_wrap=True)
