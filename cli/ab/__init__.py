"""`ferry ab`: which variant is better, and how sure that is."""

from __future__ import annotations

import typer

from cli.ab.command import plan
from cli.ab.show import report
from cli.verdicts import Verdicts

app = typer.Typer(
    cls=Verdicts,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Compare variants.",
)


@app.callback()
def ab() -> None:
    """Compare variants, with how sure the comparison is."""


app.command()(plan)
app.command()(report)
