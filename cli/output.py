"""Where the commands print: answers to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

_PIPE_WIDTH = 140
"""Columns for a table that goes into a file or another program."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at a stream of this process; None, as Python has it where it is closed: nobody does."""
    return stream is not None and stream.isatty()


answers = Console(width=None if is_terminal(sys.stdout) or "COLUMNS" in os.environ else _PIPE_WIDTH)
errors = Console(stderr=True)

_PICTURES = (".png", ".svg", ".pdf")


def _picture(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in _PICTURES:
        raise typer.BadParameter(f"must end with one of {', '.join(_PICTURES)}")
    return path


PlotOption = Annotated[
    Path | None, typer.Option(metavar="FILE", callback=_picture, help="Draw a picture (.png, .svg or .pdf).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
AddressOption = Annotated[
    str, typer.Option(envvar="FERRY_ADDRESS", metavar="HOST:PORT", help="The gateway of the cluster.")
]
DEFAULT_ADDRESS = "localhost:50051"


def print_json(value: Any) -> None:
    """`value` as JSON on standard output, one document, never wrapped or coloured."""
    print(json.dumps(value, indent=2, default=dict), flush=True)
