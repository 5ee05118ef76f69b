"""`ferry models fit-vote`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.models.common import WORK_DIR, DataOption, ModelsOption, ThreadsOption, WorkOption, explained
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, answers, print_json
from services.ensembler.recipe import DEFAULT_RECIPE, read_recipe

_NAME = re.compile(r'^name = "([^"]+)"', re.MULTILINE)
_WEIGHT = re.compile(r"^weight = .*$", re.MULTILINE)
_ASK_BELOW = re.compile(r"^ask_below = .*\n", re.MULTILINE)
_DETECTOR_WEIGHT = re.compile(r"^detector_weight = .*$", re.MULTILINE)


def fit_vote(
    *,
    data: DataOption,
    out: Annotated[Path | None, typer.Option(help="Write the default recipe with the fitted weights there.")] = None,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Write the fitted cascade too: later classifiers see unsure faces alone.")
    ] = False,
    models_dir: ModelsOption = MODELS_DIR,
    work_dir: WorkOption = WORK_DIR,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Fit the weights of the vote on pictures held back from training, by what a crowd saw in them.

    `public_test` plays no part. Needs the extra `evaluate`, and no PyTorch.
    Serve what comes out with the ensembler's --recipe (FERRY_RECIPE).
    """
    with explained("evaluate"):
        from modelkit.judging.fit_vote import fit_vote as run_fit

        fitted = run_fit(models_dir, data, work_dir.expanduser(), threads)
        if out is not None:
            text = with_weights(DEFAULT_RECIPE.read_text(), dict(zip(fitted.names, fitted.after, strict=True)))
            if cascade and fitted.cascade is not None:
                text = with_cascade(text, fitted.cascade.order, fitted.cascade.ask_below)
            out.write_text(text)
            read_recipe(out)
    if as_json:
        print_json(asdict(fitted))
        return
    says = "what the crowd saw" if fitted.truth == "crowd" else "their labels"
    answers.print(f"fitted on {fitted.n} held-back pictures by {says}")
    table = Table("", "version", "weight before", "fitted")
    for row in zip(fitted.names, fitted.versions, fitted.before, fitted.after, strict=True):
        table.add_row(row[0], row[1], f"{row[2]:.2f}", f"{row[3]:.2f}")
    answers.print(table)
    for name, figures in fitted.figures.items():
        for truth, found in (("label", figures), ("crowd", figures.get("crowd"))):
            if found:
                answers.print(
                    f"{name}, {truth}: accuracy {found['accuracy']:.3f}, mean recall {found['mean_recall']:.3f}, "
                    f"ECE {found['ece']:.3f} on {found['n']} pictures"
                )
    for pair in fitted.diversity:
        answers.print(
            f"{' and '.join(pair.models)}: disagreement {pair.disagreement:.3f}, double fault {pair.double_fault:.3f}"
        )
    if fitted.cascade is not None:
        found = fitted.cascade
        answers.print(
            f"cascade: {found.order[0]} first, then {', '.join(found.order[1:])} about faces less confident than "
            f"{found.ask_below:.2f} ({found.further:.0%} of them); accuracy {-100 * found.lost:+.1f} points, "
            f"mean recall {-100 * found.mean_recall_lost:+.1f}"
        )
    if out is not None:
        answers.print(f"wrote {out}")


def with_weights(recipe: str, weights: dict[str, float]) -> str:
    """The text of a recipe with other weights, comments and all; models without a weight keep theirs."""
    head, *classifiers = recipe.split("[[classifiers]]")
    detector = _NAME.search(head)
    if detector is not None and detector[1] in weights:
        head = _DETECTOR_WEIGHT.sub(f"detector_weight = {weights[detector[1]]:.3f}", head)
    parts = [head]
    for part in classifiers:
        name = _NAME.search(part)
        known = name is not None and name[1] in weights
        parts.append(_WEIGHT.sub(f"weight = {weights[name[1]]:.3f}", part) if known and name else part)
    return "[[classifiers]]".join(parts)


def with_cascade(recipe: str, order: Sequence[str], ask_below: float) -> str:
    """The text of a recipe whose classifiers stand in this order, all but the first with a threshold.

    Classifiers that are not in `order` come last.
    """
    head, *classifiers = recipe.split("[[classifiers]]")
    found = {name[1]: _ASK_BELOW.sub("", part) for part in classifiers if (name := _NAME.search(part))}
    sorted_names = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    parts = [head]
    for place, each in enumerate(sorted_names):
        part = f"{found[each].rstrip()}\n\n"
        parts.append(_NAME.sub(f"\\g<0>\nask_below = {ask_below:.2f}", part) if place else part)
    return "[[classifiers]]".join(parts).rstrip() + "\n"
