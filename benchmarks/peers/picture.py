"""Bars of a run: throughput and CPU of everybody, beside Ferry's."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.bench import MANY
from benchmarks.peers.record import BARE, FERRY, FERRY_ALL, OURS, Record, cpu, per_second, value

COLOURS = {FERRY: "#c44e52", FERRY_ALL: "#8c2d2d", BARE: "#8c8c8c"}


def draw(record: Record, path: Path) -> bool:
    """The best way of each server, a column for each precision, as SVG.

    Returns:
        False where matplotlib (of the toolchain) is missing, or nothing was measured.
    """
    kinds = list(dict.fromkeys(reading.precision for reading in record.of("images")))
    if not kinds:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(5 * len(kinds), 6.4), layout="constrained")
    rows = figure.subplots(2, len(kinds), squeeze=False)
    for column, kind in enumerate(kinds):
        servers = dict.fromkeys(server for server, _, _ in record.ways("images", precision=kind))
        best = [(server, record.best("images", server, kind, callers=MANY)) for server in servers]
        for row, (get, unit) in enumerate(((per_second, "images/s"), (cpu, "CPU ms an image"))):
            figures = [
                (value(record.of("images", server=server, way=way, precision=kind, callers=MANY), get),
                 f"{server} {way}" if server not in OURS else server, server)
                for server, way in best
            ]  # fmt: skip
            figures.sort(reverse=row == 1)
            axes = rows[row][column]
            axes.barh([name for _, name, _ in figures], [figure_ for figure_, _, _ in figures],
                      color=[COLOURS.get(server, "#3b76af") for _, _, server in figures])  # fmt: skip
            for number, name, _ in figures:
                axes.text(number, name, f" {number:.0f}", va="center", fontsize=8)
            axes.set_xlabel(unit)
            axes.tick_params(labelsize=8)
            axes.set_title(f"{kind}, {MANY} callers" if row == 0 else "", fontsize=9)
    figure.suptitle(f"{record.machine}, {record.cpus} CPUs, {record.when}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg")
    return True
