"""`ferry models promote` and `rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.models.common import ModelsOption, change, explained, fail, shown
from cli.models.diff import print_comparison
from cli.models_dir import MODELS_DIR
from cli.output import answers

if TYPE_CHECKING:
    from modelkit.publishing.judgement import Judgement
    from serving.repository.manifest import Manifest
    from serving.repository.repository import ModelRepository

ModelArgument = Annotated[str, typer.Argument(help="A model of the repository.")]


def promote(
    name: ModelArgument,
    version: Annotated[str, typer.Argument(help="A version's number, or latest.")],
    *,
    data: Annotated[Path | None, typer.Option(help="Compare it with what is served on this data first.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, whatever is known of it; for pipelines.")] = False,
    models_dir: ModelsOption = MODELS_DIR,
) -> None:
    """Make a version the stable one: verified first, then served by running services without a failed request.

    Shows how it was judged beside the version that is served, and asks where nobody has, or where it is worse.
    """
    with explained():
        from modelkit.publishing.judgement import judge
        from modelkit.publishing.promotion import promote as move
        from serving.repository.repository import ModelRepository

        repository = ModelRepository(models_dir)
        candidate = repository.open(name, version).manifest
        served = repository.stable(name)
        if served != candidate.version:
            judgement = judge(_manifest(repository, name, served), candidate)
            _print(name, served, candidate.version, judgement)
            doubts = list(judgement.doubts)
            if data is not None and served is not None:
                doubts = _compared(models_dir, name, (served, candidate.version), data, doubts)
            for doubt in doubts:
                typer.secho(f"{name} {candidate.version}: {doubt}", fg="yellow", err=True)
            if doubts and not yes:
                _ask(name, candidate.version)
        before, now = move(models_dir, name, candidate.version)
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


def _manifest(repository: ModelRepository, name: str, version: str | None) -> Manifest | None:
    """Of what is served; None where it is gone or damaged, which is no reason to keep it."""
    from serving.errors import NotFoundError
    from serving.repository.repository import InvalidModelError

    try:
        return None if version is None else repository.open(name, version).manifest
    except (NotFoundError, InvalidModelError) as error:
        typer.secho(f"what is served cannot be read: {error}", fg="yellow", err=True)
        return None


def _print(name: str, served: str | None, candidate: str, judgement: Judgement) -> None:
    if not judgement.figures:
        return
    table = Table(name, served or "nothing", candidate, "change", title="as they were judged")
    for figure in judgement.figures:
        before, after = figure.before, figure.after
        table.add_row(f"{figure.name}, {figure.split}", shown(before), shown(after), change(before, after))
    answers.print(table)


def _compared(models_dir: Path, name: str, versions: tuple[str, str], data: Path, doubts: list[str]) -> list[str]:
    """The doubts that are left when both have answered the same pictures."""
    from modelkit.judging.compare import compare
    from modelkit.judging.floor import below_floor

    result = compare(models_dir, name, versions, data)
    print_comparison(result)
    low = below_floor(result["b"])
    worse = [f"it is worse on {data}"] if result["verdict"] == "worse" else []
    return [doubt for doubt in doubts if not doubt.startswith("nobody")] + ([low] if low else []) + worse


def _ask(name: str, version: str) -> None:
    try:
        agreed = typer.confirm("Promote it nevertheless?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        fail(f"{name} {version} is not promoted; --yes promotes it without asking")
