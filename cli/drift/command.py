"""`ferry drift baseline` and `ferry drift report`."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from cli.drift.counts import ByProcess, read, together
from cli.output import JsonOption, PlotOption, answers, errors, print_json
from cli.verdicts import NOTHING
from gateway.experiments.distance import psi, two_sample
from gateway.experiments.drift import LEAST_IMAGES, Baseline
from gateway.routing.distributions import CELLS, Counts
from serving.config_file import ConfigFileError, read_config
from serving.disk import write_whole

CHANGED = 0.25
"""Population stability index from which on it is another population, as is usual in credit scoring."""
SLIGHT = 0.1
CHANCE = 0.001
"""Of the test: above it, what the index says may be chance. Two samples of 200 of one population can have 0.3."""

GatewaysOption = Annotated[
    str, typer.Option(envvar="FERRY_JUDGE_GATEWAYS", help="Metrics of all gateways, HOST:PORT with commas.")
]
SecondsOption = Annotated[
    float, typer.Option(min=0, max=86400, help="Length of the window; 0: since the gateways started.")
]


def baseline(
    gateways: GatewaysOption,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to (.json); FERRY_DRIFT_BASELINE names it.")],
    *,
    variant: Annotated[str, typer.Option(help="Whose answers are the reference.")] = "stable",
    seconds: SecondsOption = 0.0,
) -> None:
    """Store what answers look like now, for gateways to compare later ones with.

    Exit status: 0 stored, 3 nothing to store: too few answers, 64 bad options.
    """
    if out.suffix != ".json":
        raise typer.BadParameter("must end with .json", param_hint="--out")
    found = _window(gateways, seconds)
    if variant not in found:
        _nothing(f"nothing was counted of {variant!r}; there are {', '.join(found) or 'none'}")
    counts = found[variant]
    if sum(counts["faces"]) < LEAST_IMAGES:
        _nothing(f"only {sum(counts['faces'])} computed answers of {variant}; a reference wants {LEAST_IMAGES} or more")
    if not sum(counts["expression"]):
        _nothing(f"no answer of {variant} had a face; there is nothing to compare later faces with")
    document = {"variant": variant, "made": time.time(), "seconds": max(seconds, 1.0), "counts": counts}
    try:
        write_whole(out, json.dumps(document))
    except OSError as error:
        raise typer.BadParameter(f"cannot be written: {error}", param_hint="--out") from error
    answers.print(f"{sum(counts['faces']):,} answers of {variant} in {out}", highlight=False)


def report(
    gateways: GatewaysOption,
    reference: Annotated[Path, typer.Option("--baseline", exists=True, dir_okay=False, help="As `baseline` wrote it.")],
    *,
    seconds: SecondsOption = 0.0,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how far answers are from the reference window.

    Exit status: 0 alike, 2 changed, 3 nothing to compare: no variant has answered often enough,
    64 bad options.
    """
    try:
        stored = read_config(reference, Baseline)
    except ConfigFileError as error:
        raise typer.BadParameter(str(error), param_hint="--baseline") from error
    found = {name: counts for name, counts in _window(gateways, seconds).items() if sum(counts["faces"])}
    rows = [
        (variant, name, psi(stored.counts[name], counts[name]), two_sample(stored.counts[name], counts[name]))
        for variant, counts in found.items()
        for name in CELLS
        if sum(counts[name])
    ]
    enough = {variant for variant, counts in found.items() if sum(counts["faces"]) >= LEAST_IMAGES}
    if plot is not None:
        from cli.drift.figure import draw

        draw(stored, found, plot)
    if as_json:
        print_json(
            [
                {"variant": v, "distribution": n, "psi": index, "p_value": p, "enough": v in enough}
                for v, n, index, p in rows
            ]
        )
    else:
        table = Table("variant", "distribution", "answers", "PSI", "p", "verdict")
        for v, n, index, p in rows:
            table.add_row(
                v, n, f"{sum(found[v]['faces']):,}", f"{index:.3f}", f"{p:.2g}", _words(index, p, v in enough)
            )
        answers.print(table)
    if not enough:
        _nothing(f"no variant has {LEAST_IMAGES} computed answers in that time")
    if any(_words(index, p, v in enough) == "changed" for v, _, index, p in rows):
        raise typer.Exit(2)


def _nothing(why: str) -> NoReturn:
    errors.print(f"error: {why}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(NOTHING)


def _words(index: float, p: float, enough: bool) -> str:
    if not enough:
        return f"too little: fewer than {LEAST_IMAGES} answers"
    if index >= SLIGHT and p >= CHANCE:
        return "may be chance"
    return "changed" if index >= CHANGED else "a little" if index >= SLIGHT else "alike"


def _window(gateways: str, seconds: float) -> dict[str, Counts]:
    addresses = [part.strip() for part in gateways.split(",") if part.strip()]
    if not addresses:
        raise typer.BadParameter("name the metrics of at least one gateway", param_hint="--gateways")
    before: ByProcess = {}
    if math.isnan(seconds):
        raise typer.BadParameter("must be a number", param_hint="--seconds")
    if seconds:
        before = read(addresses)
        errors.print(f"counting for {seconds:g} s", highlight=False)
        time.sleep(seconds)
    return together(read(addresses), before)
