"""`ferry models evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.models.common import DataOption, ModelsOption, ThreadsOption, explained
from cli.models.reports import print_reports
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, print_json


def evaluate(
    *,
    data: DataOption,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Models, and `ensemble` for the soft vote; none: all of them."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the expression crops.")] = "public_test",
    tta: Annotated[bool, typer.Option("--tta", help="Average the classifiers over several views.")] = False,
    models_dir: ModelsOption = MODELS_DIR,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Judge published models through the code that serves them."""
    with explained():
        from modelkit.judging.evaluate import evaluate as run_evaluation

        reports = run_evaluation(models_dir, names or [], data, split, tta=tta, threads=threads)
    if as_json:
        print_json(reports)
    else:
        print_reports(reports)
