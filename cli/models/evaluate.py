"""`ferry models evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.models.common import WORK_DIR, ModelsOption, ThreadsOption, WorkOption, explained
from cli.models.reports import print_reports
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, errors, print_json

PicturesOption = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Folder with the Parquet data (docs/models.md describes it), one Parquet file, or a folder with one "
        "folder of pictures for each expression.",
    ),
]


def evaluate(
    context: typer.Context,
    *,
    data: PicturesOption,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME[:VERSION]",
            help="Models, and `ensemble` for the soft vote; none: all of them. Without VERSION, a number or latest, "
            "the one that is served.",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Which pictures of a data folder: a file of that name, or `held-back`, the part of train kept from "
            "training."
        ),
    ] = "public_test",
    labels: Annotated[
        Literal["crowd", "fer2013", "both"],
        typer.Option(help="Who says what a picture shows: more than half of a crowd, the picture's label, or both."),
    ] = "both",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Judge on so many pictures, evenly spread over all of them.")
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="Pictures are whole photos: the detector seeks the faces, and the largest one is judged."
        ),
    ] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Average the classifiers over several views.")] = False,
    yunet: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="YuNet's ONNX file: its landmarks tell heads apart by how far they are turned, and what it finds in "
            "photos stands beside a detector's figures.",
        ),
    ] = None,
    harder: Annotated[
        bool,
        typer.Option(
            "--harder",
            help="Judge also on the same pictures made smaller, darker, lit from one side and rolled; a detector on "
            "photos with small faces, faces that fill the frame, darkness, and turned ones.",
        ),
    ] = False,
    first_looks: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Judge also what a detector's first look at a smaller copy does to answers: N pictures, put into "
            "photos without faces.",
        ),
    ] = 0,
    corrections: Annotated[
        str,
        typer.Option(
            metavar="FILE|none",
            help="What is wrong with the boxes of a detector's photos, JSON (docs/evaluate.md); by default the list "
            "for faces/validation that comes with Ferry. `none`: the labels as they are.",
        ),
    ] = "",
    pictures: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Draw there what each model takes for what, confusion-NAME.png, and what --harder finds.",
        ),
    ] = None,
    models_dir: ModelsOption = MODELS_DIR,
    work_dir: WorkOption = WORK_DIR,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Judge published models through the code that serves them.

    Needs the extra `evaluate`, and no PyTorch.
    """
    with explained("evaluate"):
        from modelkit.data.corrections import CORRECTIONS
        from modelkit.judging.evaluate import HELD_BACK, Request
        from modelkit.judging.evaluate import evaluate as run_evaluation
        from modelkit.judging.figures import Labels
        from modelkit.judging.sources import judged

        listed = None if corrections == "none" else Path(corrections) if corrections else CORRECTIONS
        request = Request(
            models_dir=models_dir,
            data=data,
            names=names or (),
            split=split,
            labels=Labels(labels),
            limit=limit,
            whole=whole,
            tta=tta,
            threads=threads,
            cache=work_dir,
            yunet=yunet,
            harder=harder,
            first_looks=first_looks,
            corrections=listed,
        )
        reports = run_evaluation(request)
        source = context.get_parameter_source("split")
        if source is not None and source.name != "DEFAULT" and judged(data, split) != split != HELD_BACK:
            errors.print(f"--split {split} was not used: --data names the pictures themselves", highlight=False)
        if pictures is not None:
            from modelkit.judging.drawing import draw_confusions, draw_harder

            draw_confusions(reports, pictures)
            draw_harder(reports, pictures)
    if as_json:
        print_json(reports)
    else:
        print_reports(reports)
