"""Commands that are imported only when they are called: each may need packages that the others do without."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.main import get_command

UNTOUCHED: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    "add_help_option": False,
}
"""How a command is declared whose arguments all go on to `pass_on`."""


def pass_on(context: typer.Context, module: str, name: str) -> None:
    """Runs the Typer app or the function `name` of `module` with the arguments of `context`.

    Raises:
        ModuleNotFoundError: the module, or one that it needs, is not installed; it names the command.
    """
    program = context.command_path
    try:
        target = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"`{program}` needs {error.name}", name=error.name) from error
    if not isinstance(target, typer.Typer):
        function, target = (
            target,
            typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"),
        )
        target.command()(function)
    get_command(target).main(args=context.args, prog_name=program, help_option_names=context.help_option_names)
