"""`ferry models frontier`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.models.common import WORK_DIR, DataOption, WorkOption, explained, fail
from cli.output import JsonOption, print_json

SHOWN = 8
"""Mixes that are printed of the vote, or of the only run."""


def frontier(
    names: Annotated[list[str] | None, typer.Argument(help="One or two finished runs with two heads.")] = None,
    *,
    data: DataOption,
    work_dir: WorkOption = WORK_DIR,
    init: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="The weights that a run started from; once for each.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw there what can be had: a PNG (docs/frontier.png).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what joining the votes' and the labels' heads can give, of each run and of the vote of two.

    On the held-back pictures; `export --label-share --prior-share` makes the one that is wanted.
    """
    with explained():
        import torch

        torch.set_num_threads(1)
        from modelkit.releases.classifier import find_run
        from modelkit.releases.frontier import best_of, draw, mixes

        wanted = names or ["arcface", "efficientnet"]
        if len(wanted) > 2 or len(set(wanted)) != len(wanted):
            fail("name one run or two different ones")
        started = dict(_initial(each) for each in init or ())
        if unknown := started.keys() - set(wanted):
            fail(f"--init names {', '.join(sorted(unknown))}, which is not asked about")
        found = mixes([find_run(name, data, work_dir, initial=started.get(name), device="cpu") for name in wanted])
        if out is not None:
            draw(found, out)
        last = list(found)[-1]
        least = max(point.mean_recall for point in found[last]) - 0.05
        best = {name: best_of(points, "label_accuracy", least) for name, points in found.items()}
        if as_json:
            print_json({name: [point.as_record() for point in points] for name, points in best.items()})
            return
        typer.echo(f"{last}, by falling accuracy of the crowd (accuracy, mean recall; label):")
        for point in best[last][:: max(1, len(best[last]) // SHOWN)]:
            shares = ", ".join(f"{s:g}/{t:g}" for s, t in zip(point.label_shares, point.prior_shares, strict=True))
            typer.echo(
                f"  {point.accuracy:.3f}, {point.mean_recall:.3f}; {point.label_accuracy:.3f}"
                f"  label/prior share {shares}, weight of {wanted[0]} {point.weight:g}"
            )


def _initial(told: str) -> tuple[str, Path]:
    name, equals, file = told.partition("=")
    if not (name and equals and file):
        fail(f"--init wants NAME=FILE, for example arcface=faceres-deep.json, not {told!r}")
    return name, Path(file)
