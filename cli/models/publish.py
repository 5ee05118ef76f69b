"""`ferry models publish`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.models.common import (
    DETECTOR,
    WORK_DIR,
    BaseOption,
    DataOption,
    ModelsOption,
    NameArgument,
    RefineOption,
    WorkOption,
    classifier_run,
    explained,
    say_next,
)
from cli.models_dir import MODELS_DIR


def publish(
    name: NameArgument,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    models_dir: ModelsOption = MODELS_DIR,
    refine: RefineOption = False,
    base: BaseOption = "stable",
    below_gate: Annotated[
        bool, typer.Option("--below-gate", help="Publish even if it is worse than its gate allows.")
    ] = False,
    note: Annotated[str, typer.Option(help="Classifiers: what users of the weights should know.")] = "",
) -> None:
    """Judge the exported model and put it into the repository as its next version."""
    with explained():
        if name == DETECTOR:
            from modelkit.releases.detector import publish_run as publish_detector

            run_folder = work_dir.expanduser() / name
            version = publish_detector(run_folder, data, models_dir, below_gate=below_gate)
        else:
            from modelkit.releases.classifier import publish_run

            run = classifier_run(name, data, work_dir, models_dir, refine=refine, base=base)
            version = publish_run(run, models_dir, below_gate=below_gate, note=note)
        typer.echo(f"published {version}")
        say_next(models_dir, name, version.name)
