"""`python -m tests.kubernetes.pictures FOLDER FILE...`: a picture of each scenario in files cluster-test.json.

Above are the calls, as callers had them; below is what panels of Grafana showed of the same time.
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tests.kubernetes.scenarios.outcome import Outcome, Panel
from tests.kubernetes.scenarios.report import kept, pictured, slug, timeline

_COLUMNS = 4
_COLOURS = 32
"""Of a picture: with few it is half as large, and looks the same."""
_UNITS = {"short": "", "percentunit": "share", "reqps": "1/s"}


def draw(outcome: Outcome, path: Path) -> None:
    """The calls, the events, and the panels if there are any."""
    rows = math.ceil(len(outcome.panels) / _COLUMNS)
    figure = Figure(figsize=(11, 3 + 1.9 * rows), dpi=80, layout="constrained")
    grid = figure.add_gridspec(1 + rows, _COLUMNS, height_ratios=[2.4, *[1.9] * rows])
    timeline(figure.add_subplot(grid[0, :]), outcome)
    for place, panel in enumerate(outcome.panels):
        show(figure.add_subplot(grid[1 + place // _COLUMNS, place % _COLUMNS]), panel, outcome)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    few = Image.open(drawn).convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def show(axes: Axes, panel: Panel, outcome: Outcome) -> None:
    """One panel: a line for each of its series, a grey one for each event."""
    axes.set_title(f"{panel.dashboard.removeprefix('Ferry: ')}: {panel.title}", loc="left", fontsize=7)
    for name, values in panel.lines.items():
        times = [panel.began + panel.step * place - outcome.began for place in range(len(values))]
        numbers = [math.nan if value is None else value for value in values]
        axes.plot(times, numbers, linewidth=1, label=name.removeprefix("ferry.v1."))
    for event in outcome.events:
        axes.axvline(event.at - outcome.began, color="0.8", linewidth=0.6)
    axes.set_xlim(0, outcome.ended - outcome.began)
    highest = max((value for values in panel.lines.values() for value in values if value is not None), default=0) or 1
    axes.set_ylim(-0.04 * highest, 1.15 * highest)
    axes.set_ylabel(_UNITS.get(panel.unit, panel.unit), fontsize=6)
    axes.tick_params(labelsize=6)
    if panel.lines:
        axes.legend(fontsize=5, loc="best", framealpha=0.6)
    else:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", fontsize=7)


def main(folder: Path, files: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        for outcome in kept(file):
            if pictured(outcome):
                draw(outcome, folder / f"{slug(outcome)}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
