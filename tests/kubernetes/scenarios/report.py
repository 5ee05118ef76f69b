"""Outcomes as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kubernetes.scenarios.outcome import OK, Event, Outcome, Panel, call_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST = 20
"""Calls of a scenario that a picture is drawn of."""
_HEADER = ("scenario", "verdict", "calls", "failed", "degraded", "longest wait", "took")


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each scenario; under it what was counted, and what failed calls were told."""
    rows = [
        (
            outcome.scenario,
            outcome.word,
            str(len(outcome.calls)),
            str(len(outcome.failures)),
            str(outcome.degraded),
            f"{outcome.longest:.2f} s",
            f"{outcome.ended - outcome.began:.0f} s",
        )
        for outcome in outcomes
    ]
    widths = [max(len(row[i]) for row in (_HEADER, *rows)) for i in range(len(_HEADER))]
    lines = [_line(_HEADER, widths)]
    for outcome, row in zip(outcomes, rows, strict=True):
        lines.append(_line(row, widths))
        notes = [*outcome.facts, *outcome.said()[:5]]
        if outcome.verdict != OK:
            notes.append(outcome.verdict)
        lines += [f"    {note}" for note in notes]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def keep(outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Writes cluster-test.json and returns where; done after each scenario, a run that is cut off loses nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "cluster-test.json"
    data.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    return data


def kept(data: Path) -> list[Outcome]:
    """Those of a cluster-test.json."""
    found = []
    given: dict[str, Any]
    for given in json.loads(data.read_text()):
        calls, events = [call_of(call) for call in given["calls"]], [Event(**event) for event in given["events"]]
        panels = [Panel(**panel) for panel in given.get("panels", ())]
        found.append(Outcome(**{**given, "calls": calls, "events": events, "panels": panels}))
    return found


def pictured(outcome: Outcome) -> bool:
    """Whether it has a picture: with a handful of calls there is nothing to see."""
    return len(outcome.calls) >= _LEAST


def slug(outcome: Outcome) -> str:
    """The name of a scenario's picture."""
    return "-".join(re.findall(r"[a-z0-9]+", outcome.scenario.lower())[:8])


def write(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Writes cluster-test.json and, where matplotlib is installed, cluster-test.svg; returns what it wrote."""
    data = keep(outcomes, folder)
    picture = folder / "cluster-test.svg"
    return [data, picture] if draw(outcomes, picture) else [data]


def draw(outcomes: Sequence[Outcome], path: Path) -> bool:
    """A time line for each scenario: every call by when it began and how long it took, and the events above.

    Returns:
        False where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    drawn = [outcome for outcome in outcomes if outcome.calls]
    figure = Figure(figsize=(11, 0.6 + 2.4 * max(len(drawn), 1)), layout="constrained")
    for place, outcome in enumerate(drawn):
        timeline(figure.add_subplot(len(drawn), 1, place + 1), outcome)
    figure.savefig(path)
    return True


def timeline(axes: Axes, outcome: Outcome) -> None:
    """Every call of a scenario by when it began and how long it took, and the events above."""
    axes.set_title(
        f"{outcome.scenario}: {len(outcome.calls)} calls, {len(outcome.failures)} failed", loc="left", fontsize=9
    )
    for colour, label, calls in (
        ("tab:blue", "answered", [c for c in outcome.calls if not c.failed and not c.degraded]),
        ("tab:orange", "degraded", [c for c in outcome.calls if c.degraded]),
        ("tab:red", "failed", outcome.failures),
    ):
        if calls:
            x = [call.began - outcome.began for call in calls]
            axes.plot(x, [call.seconds for call in calls], ".", markersize=3, color=colour, label=label)
    top = max(outcome.longest * 1.3, 0.1)
    for event in outcome.events:
        axes.axvline(event.at - outcome.began, color="0.6", linewidth=0.7)
        axes.text(event.at - outcome.began, top, event.text, rotation=20, fontsize=6, va="top", clip_on=True)
    axes.set_ylim(0, top)
    axes.set_ylabel("s", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, loc="upper right")
