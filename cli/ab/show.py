"""`ferry ab report`."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.ab.metric import GUARDRAILS, Finding, Metric
from cli.ab.records import RecordsError, read
from cli.ab.report import ALPHA, MARGIN, Comparison, Report
from cli.ab.report import report as judged
from cli.ab.sequence import Interval
from cli.ab.verdict import Verdict
from cli.output import JsonOption, PlotOption, answers, errors, print_json
from cli.redis_option import redis_option
from cli.verdicts import NOTHING
from gateway.routing.table import STABLE

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}

_SINCE = "certain enough since "

RedisOption = Annotated[
    str,
    typer.Option(
        envvar="FERRY_REDIS_URL",
        metavar="URL",
        show_default=False,
        callback=redis_option,
        help="The Redis of the gateways.",
    ),
]


def report(
    redis_url: RedisOption,
    *,
    variant: Annotated[
        list[str] | None, typer.Option(help="The new variant; again for several. By default all of them.")
    ] = None,
    against: Annotated[str, typer.Option(help="The variant that it is compared with.")] = STABLE,
    since: Annotated[str, typer.Option(help="How far back: 2w, 2d, 12h, 30m, or a date such as 2026-05-01.")] = "7d",
    metric: Annotated[
        list[Metric] | None,
        typer.Option(
            metavar="METRIC",
            show_default="all; accuracy decides",
            help=f"What is compared: {', '.join(Metric)}. Again for several; the first one decides.",
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Probability of a verdict where there is no difference.")] = ALPHA,
    margin: Annotated[float, typer.Option(help="The largest difference that does not matter, as a share.")] = MARGIN,
    as_json: JsonOption = False,
    plot: PlotOption = None,
) -> None:
    """Say which variant is better, by how much, and how sure that is; as often as you like.

    Exit status: 0 better, 1 not decided, 2 worse or a guardrail broken (errors, degraded answers, p95), 3 no report,
    64 bad options.
    """
    for name, value in (("alpha", alpha), ("margin", margin)):
        if not 0 < value < 1:  # so that NaN fails too
            raise typer.BadParameter(f"must lie between 0 and 1, not {value:g}", param_hint=f"--{name}")
    now = time.time()
    begin = moment(since, now)
    try:
        records = read(redis_url, begin, now)
        found = judged(records, variant or (), against, metric or tuple(Metric), alpha=alpha, margin=margin)
    except RecordsError as error:
        errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(NOTHING) from error
    if plot is not None:
        from cli.ab.figure import draw

        draw(found, plot)
    if as_json:
        print_json(_record(found, begin, now))
    else:
        for comparison in found.comparisons:
            _show(comparison)
        if plot is not None:
            answers.print(f"picture: {plot}", highlight=False)
    raise typer.Exit(int(found.exit))


def moment(text: str, now: float) -> float:
    """Unix time of `2d` (ago) or of a date; local time where it names no zone.

    Raises:
        typer.BadParameter: neither, or in the future.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if match is not None:
        return max(now - float(match[1]) * _UNITS[match[2]], 0.0)
    try:
        found = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        message = f"is a time such as 2w, 2d, 12h or 30m, or a date such as 2026-05-01, not {text!r}"
        raise typer.BadParameter(message, param_hint="--since") from None
    if found > now:
        raise typer.BadParameter(f"{text} is in the future", param_hint="--since")
    return max(found, 0.0)


def _show(comparison: Comparison) -> None:
    answers.print(f"[bold]{escape(comparison.summary)}[/]", highlight=False)
    table = Table("metric", "n", comparison.new, comparison.old, "difference", "verdict", box=None)
    for metric, one in comparison.findings.items():
        factor, unit = (1.0, " ms") if metric is Metric.LATENCY else (100.0, "")
        table.add_row(
            metric.value,
            _counts(one.n, paired=one.paired) + (" pairs" if one.paired else ""),
            *("" if value is None else f"{factor * value:.1f}{unit or ' %'}" for value in (one.new, one.old)),
            "" if metric is Metric.AGREEMENT else _ends(one.judgement.interval, factor, unit),
            "" if metric is Metric.AGREEMENT else one.judgement.verdict.value,
        )
    answers.print(table)
    for metric, one in comparison.findings.items():
        if said := ", ".join(_besides(comparison, one)):
            answers.print(f"{metric}: {said}", markup=False, highlight=False)
    for note in comparison.notes:
        answers.print(f"note: {note}", markup=False, highlight=False)


def _besides(comparison: Comparison, one: Finding) -> Iterator[str]:
    """What neither the summary nor the table says of a metric."""
    said, _, since = one.words.partition(f", {_SINCE}")
    if one.metric is Metric.AGREEMENT:
        yield one.words
    elif one.words not in comparison.summary:
        more = one.judgement.more
        if one.judgement.verdict is Verdict.ALIKE:
            yield said.partition(":")[0]
        elif one.new is None and not one.paired:
            yield said
            more = None
        if more is not None and one.metric not in GUARDRAILS:
            yield f"needs about {more:,} more labels"
        if since:
            yield _SINCE + since
    if one.callers != one.n:
        yield f"callers: {_counts(one.callers, paired=one.paired)}"


def _counts(of: tuple[int, int], *, paired: bool) -> str:
    """Of the new variant and the old one; of pairs both are one."""
    return f"{of[0]:,}" if paired else f"{of[0]:,} / {of[1]:,}"


def _ends(where: Interval, factor: float, unit: str) -> str:
    """Of an interval of a difference; empty as long as both are open."""
    low, high = ("?" if math.isinf(end) else f"{factor * end:+.1f}" for end in (where.low, where.high))
    return "" if low == high == "?" else f"{low} to {high}{unit}"


def _record(found: Report, begin: float, now: float) -> dict[str, object]:
    return {
        "since": datetime.fromtimestamp(begin, UTC).isoformat(),
        "until": datetime.fromtimestamp(now, UTC).isoformat(),
        "verdict": found.exit.name.lower(),
        "sample_ratio": {
            "refuted": found.ratio.refuted,
            "callers": found.ratio.callers,
            "expected": found.ratio.expected,
        },
        "comparisons": [comparison.record() for comparison in found.comparisons],
    }
