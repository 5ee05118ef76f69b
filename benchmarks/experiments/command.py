"""`ferry bench experiments`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.experiments.cache import CacheOutcome, simulate_cache
from benchmarks.experiments.figure import draw
from benchmarks.experiments.ratio import RatioOutcome, simulate_ratio
from benchmarks.experiments.scenario import BASELINE, SCENARIOS
from benchmarks.experiments.simulate import ALPHA, Outcome, simulate
from benchmarks.experiments.steps import StepsOutcome, simulate_steps
from benchmarks.experiments.whole import VARIANTS, WholeOutcome, simulate_whole
from cli.ab.share import RATIO_ALPHA
from cli.output import JsonOption


def experiments(
    number: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Experiments of each kind.")] = 1000,
    labels: Annotated[
        int, typer.Option(metavar="N", min=100, max=1_000_000, help="Of experiments without a difference.")
    ] = 20_000,
    effect: Annotated[float, typer.Option(min=0.001, max=0.1, help="The true difference of the others.")] = 0.03,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal figures.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("out"),
    as_json: JsonOption = False,
) -> None:
    """Try the rules of `ferry ab` on made-up experiments, with a look after every label."""
    console = Console(stderr=True)
    outcomes = [
        simulate(scenario, number, labels, effect, seed)
        for scenario in track(SCENARIOS, "experiments", console=console, transient=True)
    ]
    whole = simulate_whole(number, labels, seed)
    ratio = simulate_ratio(min(number, 200), labels, seed)
    steps = simulate_steps(min(number, 200), labels, seed)
    cache = simulate_cache(min(number, 200), labels, seed)
    files = draw(outcomes, whole, ratio, steps, cache, out)
    if as_json:
        others = {"whole": whole.record(), "ratio": ratio.record()}
        others |= {"steps": steps.record(), "cache": cache.record()}
        print(json.dumps({"outcomes": [one.record() for one in outcomes], **others}, indent=1))
        return
    printer = Console(width=None if console.is_terminal else 80)
    printer.print(_table(outcomes, number, labels, effect))
    printer.print(_whole_line(whole))
    printer.print(_ratio_line(ratio))
    printer.print(_steps_line(steps))
    printer.print(_cache_line(cache))
    printer.print(f"pictures: {', '.join(map(str, files))}" if files else "no pictures: matplotlib is missing")


def _table(outcomes: list[Outcome], number: int, labels: int, effect: float) -> Table:
    table = Table(
        title=f"{number} experiments, accuracy {BASELINE:g}, a look after each of {labels:,} labels; level {ALPHA:g}",
        title_justify="left",
    )
    table.add_column("experiment")
    for column in ("false", "one look", "planned", "found", "after"):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        table.add_row(
            outcome.name,
            f"{outcome.false_alarms:.1%}",
            f"{outcome.common:.0%}",
            f"{outcome.planned:,}",
            f"{outcome.power:.0%}",
            f"{outcome.found_after:,}",
        )
    table.caption = (
        "false: share without a difference that had a verdict at any look; one look: the same of a common 95 % "
        f"interval; planned: labels by `ferry ab plan` for {100 * effect:g} points; found: share with that difference "
        "found by then; after: median labels until then"
    )
    return table


def _whole_line(whole: WholeOutcome) -> str:
    return (
        f"whole reports, {VARIANTS} new variants, accuracy and guardrails: false in {whole.false_alarms:.1%}; with the "
        f"whole level for each {whole.uncorrected:.0%}"
    )


def _ratio_line(ratio: RatioOutcome) -> str:
    return (
        f"shares of 50 : 50, level {RATIO_ALPHA:g}: blocked without a fault {ratio.false_alarms:.1%}; a fault of two "
        f"points found in {ratio.found:.0%}, after {ratio.found_after:,} callers (median)"
    )


def _steps_line(steps: StepsOutcome) -> str:
    return (
        f"a canary stepped up while pictures become harder, no difference: false in {steps.false_alarms:.1%}; of means "
        f"over all of it {steps.pooled:.0%}"
    )


def _cache_line(cache: CacheOutcome) -> str:
    return (
        f"a canary whose cache is empty, no difference: called worse in {cache.false_alarms:.1%}; counting answers "
        f"from the cache {cache.counting_hits:.0%}"
    )
