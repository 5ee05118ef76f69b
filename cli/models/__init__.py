"""`ferry models`: make, judge, publish and list the models that Ferry serves."""

from __future__ import annotations

import typer

from cli.models.build_engine import build_engine
from cli.models.card import card
from cli.models.diff import diff
from cli.models.evaluate import evaluate
from cli.models.export import export
from cli.models.fit_vote import fit_vote
from cli.models.frontier import frontier
from cli.models.import_ import import_model
from cli.models.list import list_models
from cli.models.optimize import optimize
from cli.models.promote import promote, rollback
from cli.models.publish import publish
from cli.models.quantize import quantize
from cli.models.train import train
from cli.models.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Make, judge, publish, promote and roll back models.",
)


@app.callback()
def models() -> None:
    """Make, judge, publish, promote and roll back models."""


app.command()(train)
app.command()(export)
app.command()(publish)
app.command(name="import")(import_model)
app.command()(quantize)
app.command()(optimize)
app.command(name="build-engine")(build_engine)
app.command()(evaluate)
app.command()(fit_vote)
app.command()(frontier)
app.command(name="list")(list_models)
app.command()(card)
app.command()(diff)
app.command()(promote)
app.command()(rollback)
app.command()(verify)
