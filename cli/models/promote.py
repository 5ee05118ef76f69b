"""`ferry models promote` and `rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.models.common import ModelsOption, explained
from cli.models_dir import MODELS_DIR

ModelArgument = Annotated[str, typer.Argument(help="A model of the repository.")]


def promote(
    name: ModelArgument,
    version: Annotated[str, typer.Argument(help="A version's number, or latest.")],
    *,
    models_dir: ModelsOption = MODELS_DIR,
) -> None:
    """Make a version the stable one: verified first, then served by running services without a failed request."""
    with explained():
        from modelkit.publishing.promotion import promote as move

        before, now = move(models_dir, name, version)
    if before == now:
        typer.echo(f"{name}: {now} is stable and was served already")
    else:
        typer.echo(f"{name}: {before} -> {now}; back with `ferry models rollback {name}`")


def rollback(name: ModelArgument, *, models_dir: ModelsOption = MODELS_DIR) -> None:
    """Make the version that was stable before the last promotion stable again."""
    with explained():
        from modelkit.publishing.promotion import rollback as move

        before, now = move(models_dir, name)
    typer.echo(f"{name}: {before} -> {now}; forward with `ferry models promote {name} {before}`")
