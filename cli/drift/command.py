"""`ferry drift baseline` and `ferry drift report`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.drift.counts import ByProcess, read, together
from cli.output import JsonOption, answers, errors, print_json
from cli.verdicts import NOTHING
from gateway.experiments.drift import LEAST_IMAGES, Baseline
from gateway.routing.distributions import CELLS, Counts, psi, two_sample
from serving.config_file import ConfigFileError, read_config

CHANGED = 0.25
"""Population stability index from which on it is another population, as is usual in credit scoring."""
SLIGHT = 0.1

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
    """Store what answers look like now, for gateways to compare later ones with."""
    if out.suffix != ".json":
        raise typer.BadParameter("must end with .json", param_hint="--out")
    found = _window(gateways, seconds)
    if variant not in found:
        raise typer.BadParameter(f"nothing was counted of {variant!r}; there are {', '.join(found) or 'none'}")
    counts = found[variant]
    if sum(counts["faces"]) < LEAST_IMAGES:
        raise typer.BadParameter(
            f"only {sum(counts['faces'])} computed answers of {variant}; a reference wants {LEAST_IMAGES} or more"
        )
    document = {"variant": variant, "made": time.time(), "seconds": max(seconds, 1.0), "counts": counts}
    new = out.with_name(f".{out.name}.new")
    new.write_text(json.dumps(document))
    new.replace(out)
    answers.print(f"{sum(counts['faces']):,} answers of {variant} in {out}", highlight=False)


def report(
    gateways: GatewaysOption,
    reference: Annotated[Path, typer.Option("--baseline", exists=True, dir_okay=False, help="As `baseline` wrote it.")],
    *,
    seconds: SecondsOption = 0.0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them (.png, .svg, .pdf).")] = None,
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
        table = Table("variant", "distribution", "answers", "PSI", "p", "")
        for v, n, index, p in rows:
            table.add_row(v, n, f"{sum(found[v]['faces']):,}", f"{index:.3f}", f"{p:.2g}", _words(index, v in enough))
        answers.print(table)
    if not enough:
        errors.print(f"error: no variant has {LEAST_IMAGES} computed answers in that time", highlight=False)
        raise typer.Exit(NOTHING)
    if any(index >= CHANGED and v in enough for v, _, index, _ in rows):
        raise typer.Exit(2)


def _words(index: float, enough: bool) -> str:
    if not enough:
        return f"too little: fewer than {LEAST_IMAGES} answers"
    return "changed" if index >= CHANGED else "a little" if index >= SLIGHT else ""


def _window(gateways: str, seconds: float) -> dict[str, Counts]:
    addresses = [part.strip() for part in gateways.split(",") if part.strip()]
    if not addresses:
        raise typer.BadParameter("name the metrics of at least one gateway", param_hint="--gateways")
    before: ByProcess = {}
    if seconds:
        before = read(addresses)
        time.sleep(seconds)
    return together(read(addresses), before)
