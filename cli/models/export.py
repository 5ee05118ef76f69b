"""`ferry models export`."""

from __future__ import annotations

from typing import Annotated

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
    WorkOption,
    classifier_run,
    explained,
)
from cli.models.reports import print_reports
from cli.models_dir import MODELS_DIR

ShareOption = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        min=0,
        max=1,
        help="Where two heads are joined: how much the labels' head counts, or of the log-prior is taken away "
        "(docs/models.md); chosen on held-back pictures by default.",
    ),
]


def export(
    name: NameArgument,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    init: InitOption = None,
    refine: RefineOption = False,
    base: BaseOption = "stable",
    epochs: EpochsOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    allow_unfinished: Annotated[
        bool, typer.Option("--allow-unfinished", help="Export the last checkpoint of an unfinished run.")
    ] = False,
    label_share: ShareOption = None,
    prior_share: ShareOption = None,
    models_dir: ModelsOption = MODELS_DIR,
) -> None:
    """Write the trained model as ONNX, compare it with PyTorch on pictures, and calibrate it; settings as in `train`.

    It is refused if a probability differs by more than 0.001, or the first class on more than a picture in a thousand.
    """
    with explained():
        import torch

        torch.set_num_threads(1)
        if name == DETECTOR:
            from modelkit.releases.detector import MODEL_FILE
            from modelkit.releases.detector import export_run as export_detector

            folder = work_dir.expanduser() / name
            typer.echo(f"{folder / MODEL_FILE}: {export_detector(folder, data)}")
            return
        from modelkit.publishing.parity import Parity
        from modelkit.releases.classifier import export_run

        changes = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, "device": "cpu"}
        run = classifier_run(name, data, work_dir, models_dir, refine=refine, base=base, init=init, **changes)
        record = export_run(run, allow_unfinished, label_share=label_share, prior_share=prior_share)
        typer.echo(f"{run.folder / 'model.onnx'}: temperature {record['temperature']:.3f}")
        typer.echo(str(Parity(**record["parity"])))
    print_reports([{"model": name, "version": "held back", "n": record["data"]["held_back"], **record["held_back"]}])
