"""`ferry models train`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.models.common import (
    DETECTOR,
    WORK_DIR,
    BaseOption,
    DataOption,
    EpochsOption,
    InitOption,
    ModelsOption,
    NameArgument,
    RateOption,
    RefineOption,
    SeedOption,
    ThreadsOption,
    WorkOption,
    classifier_run,
    explained,
)
from cli.models_dir import MODELS_DIR


def train(
    name: NameArgument,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    init: InitOption = None,
    refine: RefineOption = False,
    base: BaseOption = "stable",
    epochs: EpochsOption = None,
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, help="Detector: instead of the recipe's.")] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="X", min=0.1, help="Detector: by the clock, not by steps.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Detector: processes that make pictures; by default some for a GPU."),
    ] = None,
    mosaic: Annotated[
        float | None,
        typer.Option(metavar="X", min=0, max=1, help="Detector: share of pictures made of four; 0 for a last run."),
    ] = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:VERSION]",
            help="Classifiers: published models that soften the labels, by default as they are served; repeatable.",
        ),
    ] = None,
    teacher_run: Annotated[
        list[str] | None,
        typer.Option(
            help="Classifiers: finished runs in the work folder that are asked about every view; repeatable. Wants a "
            "GPU: each costs a third of a step."
        ),
    ] = None,
    every_view: Annotated[
        bool,
        typer.Option(
            "--every-view", help="Classifiers: ask --teacher about every view, not about each picture once; slower."
        ),
    ] = False,
    yunet: Annotated[
        Path | None,
        typer.Option(help="Detector: YuNet's ONNX file, which fills in faces that the photos' labels leave out."),
    ] = None,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels", help="Detector: let the published classifiers label photographed faces and soften crops."
        ),
    ] = True,
    models_dir: ModelsOption = MODELS_DIR,
    threads: ThreadsOption = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model. The same command continues an interrupted run from its last checkpoint."""
    with explained():
        import torch

        from modelkit.releases.classifier import find_run
        from serving.repository.repository import ModelRepository

        torch.set_num_threads(threads)
        if name == DETECTOR:
            _train_detector(
                data,
                work_dir.expanduser(),
                init=init,
                changes={
                    "mosaic": mosaic,
                    "steps": steps,
                    "seconds": minutes and 60 * minutes,
                    "workers": workers,
                    "learning_rate": learning_rate,
                    "seed": seed,
                },
                device=device,
                models_dir=models_dir,
                pseudo_labels=pseudo_labels,
                yunet=yunet,
            )
        else:
            changes = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, "device": device}
            run = classifier_run(name, data, work_dir, models_dir, refine=refine, base=base, init=init, **changes)
            selection = run.selection()
            counts = selection.counts
            typer.echo(
                f"{name}: {counts.read} pictures, of which {counts.near_duplicates_of_evaluation} are near-duplicates "
                f"of the evaluation split and {counts.conflicting_labels} contradict their own copies; "
                f"training on {counts.train}, {counts.held_back} held back"
            )
            names = teacher or [":".join(model.split()[:2]) for model in run.teacher_models]
            names = names or (_published(models_dir) if refine and not teacher_run else [])
            models = [ModelRepository(models_dir).find(each) for each in names]
            runs = [find_run(each, data, work_dir, device=device) for each in teacher_run or run.teacher_runs]
            every_view = every_view or bool(run.teacher_models)
            if not every_view:
                run.teach(selection, models)
            run.trainer(selection, [*runs, *models] if every_view else runs).run()
    settings: dict[str, object] = {"--work-dir": None if work_dir == WORK_DIR else work_dir}
    if name != DETECTOR:
        settings |= {"--epochs": epochs, "--learning-rate": learning_rate, "--seed": seed}
        settings |= {"--from": base if refine and base != "stable" else None}
    settings |= {"--models-dir": None if models_dir == MODELS_DIR else models_dir}
    typer.echo(f"done; next: {next_command(name, data, settings, refine=refine)}")


def next_command(name: str, data: Path, settings: Mapping[str, object], *, refine: bool) -> str:
    """How the run is exported: with the settings that it was given, since a run of others is another one."""
    given = [word for flag, value in settings.items() if value is not None for word in (flag, str(value))]
    refined = ["--refine"] if refine else []
    return shlex.join(["ferry", "models", "export", name, "--data", str(data), *refined, *given])


def _published(models_dir: Path) -> list[str]:
    """Names of the recipes' classifiers that have been published."""
    from modelkit.training.recipes import RECIPES
    from serving.repository.repository import ModelRepository

    names = ModelRepository(models_dir).names()
    return [name for name in RECIPES if name in names]


def _train_detector(
    data: Path,
    work_dir: Path,
    *,
    init: Path | None,
    changes: dict[str, Any],
    device: str,
    models_dir: Path,
    pseudo_labels: bool,
    yunet: Path | None,
) -> None:
    from modelkit.data.selection import select
    from modelkit.detector.material import read_training_photos
    from modelkit.detector.pseudo_labels import write_pseudo_labels, write_taught
    from modelkit.detector.train import LARGE, Settings, train_detector
    from modelkit.networks.architectures import pick_device
    from serving.repository.repository import ModelRepository

    recipe = LARGE if pick_device(device).type == "cuda" else Settings()
    if init is not None and init.suffix == ".onnx" and recipe is not LARGE:
        changes = changes | {"freeze_after": 0}  # the first layers of published weights have settled
    settings = replace(recipe, **{key: value for key, value in changes.items() if value is not None})
    folder = work_dir / DETECTOR
    faces, crops = folder / "pseudo-labels.npz", folder / "taught.npz"
    if pseudo_labels:
        names = _published(models_dir)
        teachers = [ModelRepository(models_dir).find(name) for name in names]
        if not teachers:
            typer.echo(f"no classifier in {models_dir}: the photographed faces stay without expression")
        if teachers and not faces.exists():
            photos = read_training_photos(data, yunet)
            labelled = write_pseudo_labels(photos, [teacher.directory for teacher in teachers], faces)
            typer.echo(f"{', '.join(names)} labelled {labelled} photographed faces")
        if teachers and not crops.exists():
            write_taught(select(data, "public_test", work_dir).train, teachers, crops)
    pseudo, taught = (table if pseudo_labels and table.exists() else None for table in (faces, crops))
    train_detector(
        data, folder, work_dir, settings, pretrained=init, pseudo=pseudo, taught=taught, yunet=yunet, device=device
    )
