"""`ferry models`: make, judge, publish and list the models that Ferry serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.output import JsonOption, answers, print_json

if TYPE_CHECKING:
    from modelkit.classifiers import Run

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, export, evaluate, publish and list models.")

WORK_DIR = Path("~/.cache/ferry/training")
DETECTOR = "detector"

NameArgument = Annotated[str, typer.Argument(help="arcface, efficientnet or detector.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with the Parquet data; docs/models.md describes it.")]
WorkOption = Annotated[Path, typer.Option("--work-dir", help="Checkpoints, exports and caches.")]
ModelsOption = Annotated[Path, typer.Option("--models-dir", envvar="FERRY_MODELS_DIR", help="The model repository.")]
InitOption = Annotated[
    Path | None,
    typer.Option("--init", help="Weights to start from: safetensors, a published model.onnx; detector: .pt."),
]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")]
RateOption = Annotated[float | None, typer.Option(min=0, help="Peak, instead of the recipe's.")]
SeedOption = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads.")]


@app.callback()
def models() -> None:
    """Train, export, evaluate, publish and list models."""


@app.command()
def train(
    name: NameArgument,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    init: InitOption = None,
    epochs: EpochsOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Detector: instead of the recipe's.")] = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="Classifiers: published models that soften the labels; repeatable.")
    ] = None,
    pseudo_labels: Annotated[
        bool, typer.Option(help="Detector: let the published classifiers label the photographed faces.")
    ] = True,
    models_dir: ModelsOption = Path("models"),
    threads: ThreadsOption = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model. The same command continues an interrupted run from its last checkpoint."""
    with _explained():
        import torch

        from serving.repository.repository import ModelRepository

        torch.set_num_threads(threads)
        if name == DETECTOR:
            _train_detector(
                data,
                work_dir.expanduser(),
                init=init,
                steps=steps,
                learning_rate=learning_rate,
                seed=seed,
                models_dir=models_dir,
                pseudo_labels=pseudo_labels,
            )
        else:
            run = _run(
                name, data, work_dir, init=init, epochs=epochs, learning_rate=learning_rate, seed=seed, device=device
            )
            selection = run.selection()
            counts = selection.counts
            typer.echo(
                f"{name}: {counts.read} pictures, of which {counts.near_duplicates_of_evaluation} are near-duplicates "
                f"of the evaluation split and {counts.conflicting_labels} contradict their own copies; "
                f"training on {counts.train}, {counts.held_back} held back"
            )
            run.teach(selection, [ModelRepository(models_dir).open(each, "latest") for each in teacher or []])
            run.trainer(selection).run()
    typer.echo(f"done; next: ferry models export {name} --data {data}")


@app.command()
def export(
    name: NameArgument,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    init: InitOption = None,
    epochs: EpochsOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    allow_unfinished: Annotated[bool, typer.Option(help="Export the last checkpoint of an unfinished run.")] = False,
) -> None:
    """Write the trained model as ONNX and calibrate it; settings as in `train`."""
    with _explained():
        import torch

        torch.set_num_threads(1)
        if name == DETECTOR:
            from modelkit.detector.release import export_run as export_detector

            typer.echo(str(export_detector(work_dir.expanduser() / name)))
            return
        from modelkit.classifiers import export_run

        run = _run(name, data, work_dir, init=init, epochs=epochs, learning_rate=learning_rate, seed=seed, device="cpu")
        record = export_run(run, allow_unfinished)
        typer.echo(f"{run.folder / 'model.onnx'}: temperature {record['temperature']:.3f}")
    _print_reports([{"model": name, "version": "held back", "n": record["data"]["held_back"], **record["held_back"]}])


@app.command()
def publish(
    name: NameArgument,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    models_dir: ModelsOption = Path("models"),
    below_gate: Annotated[bool, typer.Option(help="Publish even if it is worse than its gate allows.")] = False,
    note: Annotated[str, typer.Option(help="Classifiers: what users of the weights should know.")] = "",
) -> None:
    """Judge the exported model and put it into the repository as its next version."""
    with _explained():
        if name == DETECTOR:
            from modelkit.detector.release import publish_run as publish_detector

            run_folder = work_dir.expanduser() / name
            version = publish_detector(run_folder, data, models_dir, below_gate=below_gate)
        else:
            from modelkit.classifiers import find_run, publish_run

            version = publish_run(find_run(name, data, work_dir), models_dir, below_gate=below_gate, note=note)
        typer.echo(f"published {version}")


@app.command()
def evaluate(
    *,
    data: DataOption,
    names: Annotated[
        list[str] | None, typer.Argument(help="Models, and `ensemble` for the soft vote; none: all of them.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the expression crops.")] = "public_test",
    tta: Annotated[bool, typer.Option("--tta", help="Average the classifiers over several views.")] = False,
    models_dir: ModelsOption = Path("models"),
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Judge published models through the code that serves them."""
    with _explained():
        from modelkit.evaluate import evaluate as run_evaluation

        reports = run_evaluation(models_dir, names or [], data, split, tta=tta, threads=threads)
    if as_json:
        print_json(reports)
    else:
        _print_reports(reports)


@app.command(name="list")
def list_models(models_dir: ModelsOption = Path("models"), as_json: JsonOption = False) -> None:
    """Show every version in the repository, its size, accuracy and whether its digests hold."""
    from serving.repository.repository import InvalidModelError, ModelRepository

    repository, rows = ModelRepository(models_dir), []
    for name in repository.names():
        for version in repository.versions(name):
            row: dict[str, Any] = {"model": name, "version": version}
            try:
                stored = repository.open(name, version)
            except InvalidModelError as error:
                row |= {"state": "invalid", "problem": str(error)}
            else:
                manifest = stored.manifest
                row |= {
                    "state": "ok",
                    "task": manifest.task.value,
                    "architecture": manifest.architecture,
                    "precision": manifest.precision,
                    "input": f"{manifest.input.width}x{manifest.input.height} {manifest.input.color.value}",
                    "bytes": stored.file().stat().st_size,
                    "digest": manifest.digest,
                    "evaluation": manifest.evaluation,
                }
            rows.append(row)
    if as_json:
        print_json(rows)
        return
    table = Table("model", "version", "task", "architecture", "input", "MB", "digest", "state")
    for row in rows:
        size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
        cells = [row.get(key, "") for key in ("model", "version", "task", "architecture", "input")]
        table.add_row(*cells, size, row.get("digest", "")[:12], row.get("problem", row["state"]))
    answers.print(table)


def _run(
    name: str,
    data: Path,
    work_dir: Path,
    *,
    init: Path | None,
    epochs: int | None,
    learning_rate: float | None,
    seed: int | None,
    device: str,
) -> Run:
    from modelkit.classifiers import find_run

    return find_run(
        name, data, work_dir, initial=init, epochs=epochs, learning_rate=learning_rate, seed=seed, device=device
    )


def _train_detector(
    data: Path,
    work_dir: Path,
    *,
    init: Path | None,
    steps: int | None,
    learning_rate: float | None,
    seed: int | None,
    models_dir: Path,
    pseudo_labels: bool,
) -> None:
    from dataclasses import replace

    from modelkit.data import find_parquet
    from modelkit.detector.photos import read_photos
    from modelkit.detector.pseudo_labels import write_pseudo_labels
    from modelkit.detector.train import Settings, train_detector
    from modelkit.recipes import RECIPES
    from serving.repository.repository import ModelRepository

    changes: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate, "seed": seed}
    settings = replace(Settings(), **{key: value for key, value in changes.items() if value is not None})
    folder = work_dir / DETECTOR
    table = folder / "pseudo-labels.npz" if pseudo_labels else None
    repository = ModelRepository(models_dir)
    teachers = [name for name in RECIPES if name in repository.names()]
    if table is not None and not table.exists():
        if teachers:
            folder.mkdir(parents=True, exist_ok=True)
            directories = [repository.open(name, "latest").directory for name in teachers]
            faces = write_pseudo_labels(read_photos(find_parquet(data, "faces", "train")), directories, table)
            typer.echo(f"{', '.join(teachers)} labelled {faces} photographed faces")
        else:
            typer.echo(f"no classifier in {models_dir}: the photographed faces stay without expression")
            table = None
    train_detector(data, folder, work_dir, settings, pretrained=init, pseudo=table)


def _print_reports(reports: list[dict[str, Any]]) -> None:
    judged = [report for report in reports if "accuracy" in report]
    table = Table("", *(report["model"] for report in judged))
    if judged:
        table.add_row("version", *(report["version"].replace(",", "\n") for report in judged))
        table.add_row("crops", *(str(report.get("n_crops") or report["n"]) for report in judged))
        for key, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("ece", "ECE")):
            table.add_row(title, *(_share(report[key]) for report in judged), end_section=key == "ece")
        for expression in judged[0]["per_class"]:
            table.add_row(f"recall {expression}", *(_share(report["per_class"][expression]) for report in judged))
        answers.print(table)
    for report in reports:
        if "recall" in report:
            answers.print(
                f"{report['model']} {report['version']}: recall {report['recall']:.3f}, "
                f"precision {report['precision']:.3f} at IoU {report['iou']} on {report['n_faces']} faces"
            )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what the user can mend into one line and exit status 1."""
    try:
        yield
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed; this command needs: pip install 'ferry[toolchain]'")
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        _fail(str(error.args[0]) if isinstance(error, KeyError) else str(error))
    except Exception as error:
        from serving.errors import NotFoundError
        from serving.repository.repository import InvalidModelError

        if not isinstance(error, NotFoundError | InvalidModelError):
            raise
        _fail(str(error))


def _fail(message: str) -> None:
    typer.secho(message, fg="red", err=True)
    raise typer.Exit(1)
