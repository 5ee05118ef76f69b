"""`ferry models quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from cli.models.common import WORK_DIR, DataOption, ModelsOption, ThreadsOption, WorkOption, explained, fail, say_next
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, answers, print_json

if TYPE_CHECKING:
    from serving.repository.repository import StoredModel

GateOption = Annotated[float, typer.Option(min=0, max=1, help="Largest loss of accuracy allowed; 0.01 is a point.")]
LimitOption = Annotated[int | None, typer.Option(metavar="N", min=1, help="Pictures to judge by; all by default.")]
SamplesOption = Annotated[int, typer.Option(metavar="N", min=2, max=4096, help="Faces or photos to calibrate by.")]
CalibrationOption = Annotated[
    Literal["minmax", "entropy", "percentile"],
    typer.Option(metavar="WAY", help="How ranges of static quantization are found: minmax, entropy or percentile."),
]
VersionOption = Annotated[str, typer.Option("--version", help="Of the model: a number, stable or latest.")]
TOP_COSTS = 8
PROGRESS = "fine-tuning"
"""Folder in the work folder for runs of qat that were stopped, or not published."""

FP16_ON_CPUS = (
    "a CPU computes float16 in float32: here the file saves size, not time, and only against float32 weights. "
    "The CUDA backend is another matter, and judges it where there is a GPU"
)


def quantize(
    name: Annotated[str, typer.Argument(help="Any model in the repository.")],
    *,
    data: DataOption,
    method: Annotated[
        Literal["static", "dynamic", "qat", "fp16"],
        typer.Option(
            metavar="METHOD",
            help="static, dynamic, qat or fp16. dynamic covers linear layers only; qat fine-tunes a classifier to be "
            "quantized, then does as static; fp16 is for GPUs.",
        ),
    ] = "static",
    calibration: CalibrationOption = "minmax",
    activations: Annotated[
        Literal["uint8", "int8"], typer.Option(help="static: uint8 is fast on x86; int8 (symmetric) suits TensorRT.")
    ] = "uint8",
    samples: SamplesOption = 512,
    steps: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=1_000_000, help="qat: of 32 pictures each; goes on where it was stopped."),
    ] = 300,
    weight_bits: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=7,
            max=8,
            help="7 for processors without VNNI, which saturate; by default, as this one needs.",
        ),
    ] = None,
    gate: GateOption = 0.01,
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Blocks of layers to keep in float, dearest first; by default, as needed."
        ),
    ] = None,
    keep_float: Annotated[list[str] | None, typer.Option(help="A node to keep in float; repeatable.")] = None,
    limit: LimitOption = None,
    version: VersionOption = "stable",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, but publish nothing.")] = False,
    work_dir: WorkOption = WORK_DIR,
    models_dir: ModelsOption = MODELS_DIR,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Make an int8 or float16 variant of a model and publish it as a new version, if it loses no more than the gate.

    Accuracy is measured through the serving code on pictures held back from training: of classifiers on faces, of the
    detector as F1 of the faces found in photos and accuracy of their expressions, whichever loses more.
    """
    with explained():
        import tempfile

        from modelkit.quantize.convert import Activations, Calibration
        from modelkit.quantize.judge import open_judge
        from modelkit.quantize.release import explain_failure, make_report, measure, publish_quantized
        from modelkit.quantize.search import Method, Settings, search
        from serving.cpu import has_vnni
        from serving.repository.repository import ModelRepository

        stored = ModelRepository(models_dir).open(name, version)
        settings = Settings(
            Method(method),
            Calibration(calibration),
            Activations(activations),
            samples,
            gate,
            keep,
            tuple(keep_float or ()),
            threads,
            steps,
            not has_vnni() if weight_bits is None else weight_bits == 7,
        )
        work = work_dir.expanduser()
        judge = open_judge(stored.manifest, data, work, samples, limit)
        published: StoredModel | None = None
        with tempfile.TemporaryDirectory() as scratch:
            result = search(stored, judge, Path(scratch), settings, work / PROGRESS)
            report = make_report(stored, result, measure(stored, result))
            if result.passed and not dry_run:
                published = publish_quantized(stored, result, models_dir, report)
                if result.progress is not None:
                    result.progress.forget()
        report["published"] = None if published is None else str(published.directory)
        if as_json:
            print_json(report)
        else:
            _print(report)
        if not result.passed:
            fail(explain_failure(stored, result))
    if published is not None and not as_json:
        typer.echo(f"published {published.directory}; once promoted, services started with --optimized may use it")
        say_next(models_dir, name, published.manifest.version)


def _print(report: dict[str, Any]) -> None:
    sizes, variant = report["bytes"], report["variant"]
    answers.print(
        f"{report['model']} {report['source_version']}: {variant} covers {report['coverage']}; "
        f"{sizes['default'] / 1e6:.1f} MB ({sizes['float32'] / 1e6:.1f} MB with float32 weights) become "
        f"{sizes[variant] / 1e6:.1f} MB"
    )
    if variant == "fp16" and "cuda" not in report["backends"]:
        answers.print(FP16_ON_CPUS)
    table = Table(
        *("backend", "figure", "held back", variant, "reported", variant, "loss", "gate", "fp32 ms", f"{variant} ms")
    )
    speed = {(row["backend"], row["precision"]): row["run_ms"] for row in report["speed"]}
    for backend, judged in report["backends"].items():
        for figure in judged["before"]:
            columns = ("before", "after", "reported_before", "reported_after")
            table.add_row(
                backend,
                figure,
                *(f"{judged[column][figure]:.4f}" for column in columns),
                f"{judged['before'][figure] - judged['after'][figure]:.4f}",
                "passed" if judged["passed"] else "failed",
                *(f"{speed[backend, p]:.2f}" if (backend, p) in speed else "" for p in ("fp32", variant)),
            )
    answers.print(table)
    if report["tuned"]:
        before, after = report["attempts"][0], report["attempts"][1]
        answers.print(
            f"fine-tuned in {report['tuned']['steps']} steps: distance to the float answers "
            f"{report['tuned']['first_loss']:.5f} became {report['tuned']['last_loss']:.5f}; loss of accuracy "
            f"{before['loss']:.4f} became {after['loss']:.4f}"
        )
    if report["costs"]:
        costs = Table("change of the answers", "layers, each block quantized alone")
        for cost in report["costs"][:TOP_COSTS]:
            costs.add_row(f"{cost['change']:.4f}", "\n".join(cost["layers"]))
        answers.print(costs)
        kept = report["attempts"][-1]["blocks_in_float"]
        answers.print(f"kept in float: the {kept} dearest of {len(report['costs'])} blocks")
