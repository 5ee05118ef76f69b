"""`ferry ab plan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.ab import plan as planning
from cli.output import JsonOption, answers, print_json


def plan(
    baseline: Annotated[float, typer.Option(help="Accuracy of the present variant, 0 to 1.")],
    effect: Annotated[float, typer.Option(help="The smallest difference worth finding, such as 0.02.")],
    *,
    share: Annotated[float, typer.Option(help="Of the labels that fall to the new variant.")] = 0.5,
    alpha: Annotated[float, typer.Option(help="Probability of a verdict where there is no difference.")] = 0.05,
    variants: Annotated[int, typer.Option(help="New ones that one report compares with the present one.")] = 1,
    power: Annotated[float, typer.Option(help="Probability of a verdict where there is one.")] = 0.8,
    labels_per_day: Annotated[float | None, typer.Option(help="To say how many days that takes.")] = None,
    labels_per_caller: Annotated[float, typer.Option(help="Of the caller that a label comes from, on average.")] = 1,
    likeness: Annotated[float, typer.Option(help="Correlation of the answers to one caller, 0 to 1.")] = 0,
    disagreement: Annotated[
        float | None,
        typer.Option(help="With shadow answers: share of faces that one variant has right and the other wrong."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How many labels, and days, it takes to find a difference between two variants.

    The verdict may be looked at after every label; it often comes earlier than this number.
    """
    try:
        planned = planning.plan(
            baseline,
            effect,
            share=share,
            alpha=alpha,
            variants=variants,
            power=power,
            labels_per_caller=labels_per_caller,
            likeness=likeness,
            disagreement=disagreement,
        )
        days = None if labels_per_day is None else planned.days(labels_per_day)
    except ValueError as error:
        field, _, message = str(error).partition(": ")
        raise typer.BadParameter(message, param_hint=f"--{field.replace('_', '-')}") from error
    if as_json:
        print_json({**asdict(planned), "days": days})
        return
    what = (
        "pairs of answers, each face labelled once" if disagreement is not None else "labels, of both variants together"
    )
    _say(f"{planned.labels:,} {what}")
    _say(
        f"for a difference of {100 * effect:g} points from {100 * baseline:g} %: found with probability {power:g}, "
        f"a verdict without a difference with probability {alpha:g}, however often you look"
    )
    if planned.variance_factor > 1:
        _say(f"{planned.variance_factor:.1f} times as many as from callers who send one picture each")
    if days is not None:
        _say(f"{days:,.1f} days at {labels_per_day:g} labels a day")


def _say(line: str) -> None:
    answers.print(line, markup=False, highlight=False)
