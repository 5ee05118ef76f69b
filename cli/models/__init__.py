"""`ferry models`: make, judge, publish and list the models that Ferry serves."""

from __future__ import annotations

import typer

from cli.models.evaluate import evaluate
from cli.models.export import export
from cli.models.list import list_models
from cli.models.publish import publish
from cli.models.train import train

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, export, evaluate, publish and list models.")


@app.callback()
def models() -> None:
    """Train, export, evaluate, publish and list models."""


app.command()(train)
app.command()(export)
app.command()(publish)
app.command()(evaluate)
app.command(name="list")(list_models)
