"""What `--only` chooses of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer


def chosen(known: Iterable[str], only: Sequence[str] | None, kind: str, between: str = ", ") -> list[str]:
    """The names that have one of the texts of `only` in them; all where there are none.

    Args:
        known: names.
        only: as the command line gave it.
        kind: of what they are names, for the error.
        between: two names in it.

    Raises:
        typer.BadParameter: no name has one of the texts in it.
    """
    names = [*known]
    if unknown := [text for text in only or () if not any(text in name for name in names)]:
        raise typer.BadParameter(
            f"no {kind} has {unknown[0]!r} in its name; there are {between.join(names)}", param_hint="--only"
        )
    return [name for name in names if not only or any(text in name for text in only)]
