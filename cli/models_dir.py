"""Where the commands look for models unless they are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from serving.repository.repository import StoredModel


def _default() -> Path:
    here, tree = Path("models"), Path(__file__).parents[1] / "models"
    return tree if tree.is_dir() and not here.is_dir() else here


MODELS_DIR = _default()
"""`models` here, or where there is none, beside the installed source tree."""


def none_in(models_dir: Path) -> str:
    """Says that there are no models, and what to do."""
    return f"there are no models in {models_dir}; name another place with --models-dir"


def served(models_dir: Path, names: Sequence[str] = ()) -> list[StoredModel]:
    """The version that is served of each of these models; of all where none is named.

    Raises:
        typer.BadParameter: there is none, or it must not be served.
    """
    from serving.errors import NotFoundError
    from serving.repository.repository import STABLE, InvalidModelError, ModelRepository

    repository = ModelRepository(models_dir)
    chosen = names or repository.names()
    if not chosen:
        raise typer.BadParameter(none_in(models_dir))
    try:
        return [repository.open(name, STABLE) for name in chosen]
    except (NotFoundError, InvalidModelError) as error:
        raise typer.BadParameter(str(error)) from error
