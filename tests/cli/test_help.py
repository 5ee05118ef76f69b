"""What people read in a terminal of 80 columns they can type: no name, no choice and no default is cut or broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from cli.main import app
from tests.docs.test_names import opened
from tests.processes import ROOT

WORDS = tuple(getattr(get_command(app), "commands", {}))
_CUT = "\u2026"
_BROKEN = re.compile(r"<(?!=|int range>|float range>)[^ >]*( |$)")
"""A choice of values that goes on in the next line."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and those below it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(f"{path} {name}", below)


@pytest.mark.parametrize("word", WORDS)
def test_help_in_80_columns_holds_every_name_whole(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = opened(app, word)
    for path, command in commands(word, get_command(found) if isinstance(found, typer.Typer) else found):
        with pytest.raises(SystemExit):
            command.main(["--help"], prog_name=f"ferry {path}")
        shown = _COLOURS.sub("", capsys.readouterr().out).splitlines()
        assert any("--help" in line for line in shown), path
        bad = [line for line in shown if _CUT in line or _BROKEN.search(line)]
        assert bad == [], path
        assert str(ROOT) not in "".join(shown), f"{path}: a folder of this machine alone"
        needless = [one.secondary_opts for one in command.params if one.default is False and one.secondary_opts]
        assert needless == [], f"{path}: that is so already"
