"""`ferry models diff`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cli.models.common import DataOption, ModelsOption, ThreadsOption, change, explained, shown
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, answers, print_json

FIGURES = (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("ece", "ECE"))
DETECTION = (("recall", "recall of faces"), ("precision", "precision of faces"))


def diff(
    name: Annotated[str, typer.Argument(help="A model of the repository.")],
    a: Annotated[str, typer.Argument(help="The old version: a number, stable or latest.")],
    b: Annotated[str, typer.Argument(help="The new version.")],
    *,
    data: DataOption,
    split: Annotated[str, typer.Option(help="Split of the expression crops.")] = "public_test",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Crops to judge on; all by default.")] = None,
    models_dir: ModelsOption = MODELS_DIR,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions on the same pictures: accuracy, agreement, calibration, speed, and how sure that is."""
    with explained():
        from modelkit.judging.compare import compare

        result = compare(models_dir, name, (a, b), data, split=split, limit=limit, threads=threads)
    if as_json:
        print_json(result)
    else:
        print_comparison(result)


def print_comparison(result: dict[str, Any]) -> None:
    """What `modelkit.judging.compare.compare` found, as a table."""
    old, new = result["a"], result["b"]
    title = f"{result['n']} crops of {result['split']}"
    table = Table(result["model"], old["version"], new["version"], "change", title=title)
    figures = [(title, old[key], new[key]) for key, title in (*FIGURES, *DETECTION) if key in old and key in new]
    figures += [(f"recall {each}", old["per_class"][each], new["per_class"][each]) for each in old["per_class"]]
    for title, before, after in figures:
        table.add_row(title, shown(before), shown(after), change(before, after))
    before, after = result["run_ms"]
    table.add_row("ms a run of one", f"{before:.2f}", f"{after:.2f}", f"{result['speed_ratio']:.2f}x as fast")
    answers.print(table)
    answers.print(
        f"agreement {result['agreement']:.3f}; right only in {old['version']}: {result['only_a_right']}, "
        f"only in {new['version']}: {result['only_b_right']}; McNemar p = {result['p_value']:.2g}: {result['verdict']}"
    )
