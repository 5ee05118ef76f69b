"""Verdicts as a table, for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.table import Table

from benchmarks.chaos.run import Verdict
from serving.cpu import available_cpus, cpu_name


def title() -> str:
    """On what machine, and when."""
    return f"faults, {cpu_name()}, {available_cpus()} CPUs, {date.today()}"


def table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each finding."""
    made = Table(title=title(), title_justify="left")
    for column in ("fault", "should", "", "seen", "metrics that rose; alerts that watch them"):
        made.add_column(column)
    for verdict in verdicts:
        for i, finding in enumerate(verdict.findings):
            made.add_row(
                "" if i else verdict.fault,
                finding.claim,
                "[green]yes[/]" if finding.holds else "[red]NO[/]",
                finding.seen,
                "" if i else shown(verdict),
            )
    return made


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A row for each fault, and one more of what moved."""
    lines = [title(), "", "| fault | | seen | alerts that watch what rose |", "|---|---|---|---|"]
    for verdict in verdicts:
        said = [f"{'' if f.holds else '**missed:** '}{f.claim}: {f.seen}" for f in verdict.findings]
        word, watching = "held" if verdict.holds else "**missed**", ", ".join(verdict.alerts) or "none"
        lines.append(f"| {verdict.fault} | {word} | {'; '.join(said)} | {watching} |")
    lines += ["", "| fault | metrics that rose |", "|---|---|"]
    lines += [f"| {verdict.fault} | {', '.join(moved(verdict)) or 'none'} |" for verdict in verdicts]
    return "\n".join(lines) + "\n"


def moved(verdict: Verdict) -> list[str]:
    """What rose that does not rise every day, and by how much."""
    return [f"`{name}` +{value:.0f}" for name, value in verdict.outcome.counters.items() if _tells(name)]


def shown(verdict: Verdict) -> str:
    """What rose, and the alerts that watch it."""
    return "; ".join(filter(None, (", ".join(moved(verdict)), ", ".join(verdict.alerts))))


def _tells(name: str) -> bool:
    if name.startswith("calls of"):
        return not name.endswith((" OK", " CANCELLED"))
    return "ferry_cache_requests_total" not in name or 'result="error"' in name or 'result="busy"' in name
