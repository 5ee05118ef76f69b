"""What the `ferry models` commands share."""

from __future__ import annotations

import pytest
import typer

from cli.models.common import explained, fail


@pytest.mark.parametrize("error", [typer.Exit(3), typer.Abort()])
def test_a_command_that_has_ended_itself_says_no_more(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained():
        raise error
    assert caught.value is error
    assert capsys.readouterr().err == ""


def test_what_failed_inside_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        fail("no room")
    assert capsys.readouterr().err == "no room\n"
