"""`ferry models verify`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.models.common import ModelsOption, explained, fail
from cli.models_dir import MODELS_DIR, none_in
from cli.output import JsonOption, answers, print_json


def verify(
    *,
    names: Annotated[list[str] | None, typer.Argument(help="Models; none: all of them.")] = None,
    models_dir: ModelsOption = MODELS_DIR,
    as_json: JsonOption = False,
) -> None:
    """Check every version: manifest, digests, whether it loads, and whether it answers as its manifest says."""
    rows: list[dict[str, str]] = []
    with explained():
        from modelkit.judging.verify import verify as check
        from serving.models.backends import ModelLoadError
        from serving.repository.repository import InvalidModelError, ModelRepository

        repository = ModelRepository(models_dir)
        chosen = names or repository.names()
        if not chosen:
            fail(none_in(models_dir))
        for name in chosen:
            versions = repository.versions(name)
            if not versions:
                repository.open(name, "latest")  # says what there is
            for version in versions:
                problem = ""
                try:
                    check(repository.open(name, version))
                except (InvalidModelError, ModelLoadError) as error:
                    problem = str(error)
                rows.append({"model": name, "version": version, "problem": problem})
    if as_json:
        print_json(rows)
    else:
        table = Table("model", "version", "state")
        for row in rows:
            # Problems quote manifests, in which square brackets may stand.
            table.add_row(row["model"], row["version"], Text(row["problem"] or "ok"))
        answers.print(table)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)
