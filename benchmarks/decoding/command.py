"""`python -m benchmarks decoding`: what decoding takes, measured, beside what `serving.images.cost` says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.decoding.measure import measure
from benchmarks.decoding.pictures import KINDS, every
from benchmarks.only import chosen
from serving.images.cost import outline


def decoding(
    megapixels: Annotated[list[float] | None, typer.Option(min=0.01, max=1000, help="Sizes; repeatable.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only kinds with this in their name; repeatable. All by default.")
    ] = None,
) -> None:
    """Measure the memory that decoding takes, each picture in a fresh process, by format, mode and orientation."""
    kinds = chosen(KINDS, only, "kind", between="; ")
    sizes = megapixels or [3.0, 12.0, 39.9]
    table = Table(title="Bytes a pixel at the peak: measured, and reckoned with", title_justify="left")
    table.add_column("picture")
    table.add_column("orientation", justify="right")
    for size in sizes:
        table.add_column(f"{size:g} MP", justify="right")
    rows: dict[tuple[str, int], list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture"
        for size in sizes:
            height = int((size * 1e6 / 1.5) ** 0.5)
            width = int(1.5 * height)
            for name, orientation, data in every(width, height, kinds=kinds):
                file.write_bytes(data)
                (reading,) = measure([file])
                said = outline(data, max_megapixels=1000).costs[1].peak
                cell = reading.error or f"{reading.peak / (width * height):.1f}  {said / (width * height):.1f}"
                rows.setdefault((name, orientation), []).append(cell)
    for (name, orientation), cells in rows.items():
        table.add_row(name, str(orientation), *cells)
    Console(width=120).print(table)
