"""Exit statuses of commands whose status is a verdict: a typing mistake must never look like one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from typer.core import TyperGroup

from cli.output import errors
from cli.remedy import remedy

NOTHING: Final = 3
"""There is no verdict: nothing to judge by, or what is needed for it cannot be read, written or imported."""
USAGE: Final = 64
"""The command line is wrong (EX_USAGE of sysexits.h); 2, as elsewhere in `ferry`, is a verdict here."""


class Verdicts(TyperGroup):
    """A group of commands whose statuses 0 to 2 are verdicts."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with _told_apart():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        with _told_apart():
            return super().invoke(ctx)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except _USAGE_ERROR as error:
        error.exit_code = USAGE
        raise
    except (OSError, ModuleNotFoundError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        advice = f"; {remedy(missing)}" if missing else ""
        errors.print(f"error: {error}{advice}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(NOTHING) from error
    except Exception as error:
        if not hasattr(error, "exit_code"):
            error.exit_code = NOTHING  # type: ignore[attr-defined]  # for cli.main, which says what it was
        raise


# Typer's own copy of Click or Click itself, whichever this version of Typer raises.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
