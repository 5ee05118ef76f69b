"""`ferry models list` and `verify` where manifests hold anything, or there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.models import app

run = CliRunner().invoke


@pytest.mark.parametrize("command", ["list", "verify"])
def test_brackets_in_a_manifest_are_no_markup(tmp_path: Path, command: str) -> None:
    version = tmp_path / "tiny" / "1"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text('{"name": "[/red]", "version": "[bold]"}')
    result = run(app, [command, "--models-dir", str(tmp_path)], env={"COLUMNS": "400"})
    assert result.exit_code == (1 if command == "verify" else 0), result.exception
    assert "[/red]" in result.output
    assert "[bold]" in result.output


def test_where_there_are_no_models_nothing_is_verified(tmp_path: Path) -> None:
    result = run(app, ["verify", "--models-dir", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "there are no models in" in result.output
