"""`ferry drift`: whether pictures, or what is said of them, have changed since a reference window."""

from __future__ import annotations

import typer

from cli.drift.command import baseline, report
from cli.verdicts import Verdicts

app = typer.Typer(
    cls=Verdicts,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Compare what answers look like now with a reference window.",
)


@app.callback()
def drift() -> None:
    """Compare what answers look like now with a reference window."""


app.command()(baseline)
app.command()(report)
