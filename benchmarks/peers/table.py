"""Tables of a run, 80 columns wide."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.peers.aims import ratios
from benchmarks.peers.bench import MANY
from benchmarks.peers.record import Record, cpu, memory, p50, p99, per_second, value

WIDTH = 80
COLUMNS = ("server", "way", "/s", "p50 ms", "p99", "at one", "CPU ms", "MB")
TITLES = {
    "images": f"images/s, {MANY} callers, one face, 640 x 480",
    "classifier": f"one classifier, crops/s, {MANY} callers",
    "cached": "answers that are kept, 16 callers",
    "open-loop": "open loop at 80 % of each one's own throughput",
    "faces": "Ferry, by faces in a picture, 8 callers",
}
COLOURS = {"aim met": "green", "floor met": "yellow", "missed": "red", "not measured": "dim"}


def print_record(record: Record, console: Console) -> None:
    """Everything that was measured, and what follows from it."""
    console.print(f"{record.machine}, {record.cpus} CPUs, {record.when}")
    for precision, backends in record.backends.items():
        console.print(f"kernels in {precision}: {backends}")
    for part, title in TITLES.items():
        for precision in dict.fromkeys(reading.precision for reading in record.of(part)):
            console.print(_table(record, part, title, precision))
    console.print(_ratios(record))
    for what, notes in (("not measured", record.missing), ("another answer", record.differing)):
        for name, said in notes.items():
            console.print(f"{what}: {name}: {said}", markup=False)
    if not record.readings:
        return
    disturbed = sum(reading.disturbed for reading in record.readings)
    lowest = min(reading.reference for reading in record.readings)
    console.print(
        f"noise: {disturbed} of {len(record.readings)} rounds disturbed; the slowest reference {lowest:.0%} of the best"
    )


def _table(record: Record, part: str, title: str, precision: str) -> Table:
    table = Table(title=f"{title}, {precision}", title_justify="left", width=WIDTH, box=SIMPLE, padding=(0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"server", "way"} else "right", no_wrap=column != "way")
    rows = []
    for server, way, kind in record.ways(part, precision=precision):
        of = record.of(part, server=server, way=way, precision=kind)
        many = max(reading.callers for reading in of)
        for faces in sorted({reading.faces for reading in of}):
            loud = [reading for reading in of if reading.callers == many and reading.faces == faces]
            alone = [reading for reading in of if reading.callers == 1]
            mark = "!" if all(reading.disturbed for reading in loud) else ""
            label = f"{faces} faces" if part == "faces" else way
            rows.append((value(loud, per_second), [
                server + mark, label, f"{value(loud, per_second):.1f}", f"{value(loud, p50):.3g}",
                f"{value(loud, p99):.3g}", f"{value(alone, p50):.3g}" if alone and many != 1 else "",
                f"{value(loud, cpu):.3g}", f"{value(loud, memory):.0f}" if value(loud, memory) else "",
            ]))  # fmt: skip
    for _, row in rows if part == "faces" else sorted(rows, key=lambda row: -row[0]):
        table.add_row(*row)
    return table


def _ratios(record: Record) -> Table:
    table = Table(title="ratios", title_justify="left", width=WIDTH, box=SIMPLE, padding=(0, 0))
    for column in ("ratio", "against", "now", "floor", "aim", ""):
        table.add_column(column, justify="right" if column in {"now", "floor", "aim"} else "left", no_wrap=True)
    for ratio in ratios(record):
        sign = ">=" if ratio.more else "<="
        now = f"{ratio.measured:.0f}" if ratio.measured >= 100 else f"{ratio.measured:.2f}"
        table.add_row(
            ratio.name,
            ratio.against,
            "" if ratio.verdict == "not measured" else now,
            f"{sign}{ratio.floor:g}",
            f"{sign}{ratio.aim:g}",
            f"[{COLOURS[ratio.verdict]}]{ratio.verdict}[/]",
        )
    return table
