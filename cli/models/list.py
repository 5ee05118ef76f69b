"""`ferry models list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from cli.models.common import ModelsOption
from cli.models_dir import MODELS_DIR, none_in
from cli.output import JsonOption, answers, errors, print_json

if TYPE_CHECKING:
    from serving.repository.repository import ModelRepository


_WIDE = 100
"""Columns from which on a table has room for all it says."""


def list_models(models_dir: ModelsOption = MODELS_DIR, as_json: JsonOption = False) -> None:
    """Show every version in the repository, its size, and whether its digests hold; with --json, how it was judged."""
    from serving.repository.repository import InvalidModelError, ModelRepository

    repository, rows = ModelRepository(models_dir), []
    for name in repository.names():
        stable = _stable(repository, name)
        for version in repository.versions(name):
            row: dict[str, Any] = {"model": name, "version": version, "stable": version == stable}
            try:
                stored = repository.open(name, version)
            except InvalidModelError as error:
                row |= {"state": "invalid", "problem": str(error)}
            else:
                manifest = stored.manifest
                row |= {
                    "state": "ok",
                    "task": manifest.task.value,
                    "architecture": manifest.architecture,
                    "precision": manifest.precision,
                    "input": f"{manifest.input.width}x{manifest.input.height} {manifest.input.color.value}",
                    "bytes": stored.file().stat().st_size,
                    "digest": manifest.digest,
                    "evaluation": manifest.evaluation,
                }
            rows.append(row)
    if as_json:
        print_json(rows)
        return
    if not rows:
        answers.print(none_in(models_dir), soft_wrap=True)
        return
    # In a narrow terminal the task, which the architecture tells, gives way, and then the ends of long architectures go
    # on in the next line: nothing is cut off, and what other commands are given stays whole.
    names = ["model", "version", "task", "architecture", "input", "MB", "digest", "state"]
    if answers.width < _WIDE:
        names.remove("task")
    folds = {"architecture", "state"}
    columns = (Column(name, no_wrap=name not in folds, overflow="fold") for name in names)
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for row in rows:
        shown = {
            **row,
            "version": row["version"] + " stable" * row["stable"],
            "MB": f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else "",
            "digest": row.get("digest", "")[:12],
            "state": row.get("problem", row["state"]),
        }
        # What manifests say may hold square brackets.
        table.add_row(*(Text(shown.get(name, "")) for name in names))
    answers.print(table)


def _stable(repository: ModelRepository, name: str) -> str | None:
    from serving.repository.repository import InvalidModelError

    try:
        return repository.stable(name)
    except InvalidModelError as error:
        errors.print(str(error), style="red", markup=False)
        return None
