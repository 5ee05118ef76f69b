"""`ferry bench counting`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.counting.count import Count, measure

EXPECTED = Path(__file__).parent / "expected.json"
TOLERANCE = {"calls": 0.10, "kilobytes": 0.15}
"""Shares by which a count may exceed what is expected: coroutines are resumed more often on a busy machine."""


def counting(
    models_dir: Annotated[Path, typer.Option(envvar="FERRY_MODELS_DIR", help="The model repository.")] = Path("models"),
    write: Annotated[bool, typer.Option("--write", help="Expect from now on what was counted.")] = False,
) -> None:
    """Count what one image costs each service: calls of Ferry's code, and the memory held meanwhile.

    Neither depends on how fast or how busy the machine is, so the tests compare them with benchmarks/counting/
    expected.json. A change that makes them larger for a reason writes them anew.
    """
    counted = measure(models_dir)
    expected = {} if write else read()
    table = Table(title="one face, 640 x 480; counted, not timed", title_justify="left")
    for column in ("service", "calls", "expected", "kB held", "expected", ""):
        table.add_column(column, justify="left" if column in {"service", ""} else "right")
    for name, count in counted.items():
        before = expected.get(name)
        grown = before is not None and exceeded(count, before)
        known = ("", "") if before is None else (f"{before.calls:.0f}", f"{before.kilobytes:.0f}")
        table.add_row(name, f"{count.calls:.0f}", known[0], f"{count.kilobytes:.0f}", known[1],
                      ", ".join(grown) if grown else "")  # fmt: skip
    Console().print(table)
    if write:
        EXPECTED.write_text(json.dumps({name: asdict(count) for name, count in counted.items()}, indent=1) + "\n")
    elif any(name in expected and exceeded(count, expected[name]) for name, count in counted.items()):
        raise typer.Exit(1)


def read(path: Path = EXPECTED) -> dict[str, Count]:
    """What is expected, by service; nothing where nobody has written it yet."""
    if not path.exists():
        return {}
    return {name: Count(**fields) for name, fields in json.loads(path.read_text()).items()}


def exceeded(count: Count, expected: Count) -> list[str]:
    """Which counts are larger than expected by more than their tolerance, in words."""
    return [
        f"{what} +{getattr(count, what) / max(getattr(expected, what), 1e-9) - 1:.0%}"
        for what, tolerance in TOLERANCE.items()
        if getattr(count, what) > getattr(expected, what) * (1 + tolerance) + 1
    ]
