"""`ferry models card`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.models.common import ModelsOption, explained
from cli.models_dir import MODELS_DIR
from cli.output import JsonOption, print_json


def card(
    name: Annotated[str, typer.Argument(help="A model of the repository.")],
    version: Annotated[str, typer.Argument(help="A number, stable or latest.")] = "stable",
    *,
    models_dir: ModelsOption = MODELS_DIR,
    as_json: JsonOption = False,
) -> None:
    """Print a version's model card: what it is, how it was made, how good it is, where it must not be used."""
    with explained():
        from modelkit.publishing import card as cards
        from serving.repository.repository import ModelRepository

        manifest = ModelRepository(models_dir).open(name, version).manifest
        if as_json:
            print_json(cards.card(manifest))
        else:
            typer.echo(cards.markdown(manifest), nl=False)
