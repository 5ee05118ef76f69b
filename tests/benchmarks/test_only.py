"""A name of `--only` that there is not is refused before anything is started, with what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.command import app


@pytest.mark.parametrize(
    ("command", "known"), [("scaling", "replicas"), ("chaos", "redis hangs"), ("gains", "micro-batching")]
)
def test_what_there_is_not_is_refused(command: str, known: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = CliRunner().invoke(app, [command, "--only", "nosuch", "--out", str(out)])
    assert refused.exit_code == 2
    assert "nosuch" in refused.output
    assert known in refused.output
    assert not out.exists()


def test_a_kind_of_picture_that_there_is_not_is_refused_beside_one_that_there_is() -> None:
    refused = CliRunner().invoke(app, ["decoding", "--only", "PNG", "--only", "nosuch"])
    assert refused.exit_code == 2
    assert "nosuch" in refused.output
    assert "JPEG progressive" in refused.output


def test_some_that_there_is_not_is_refused_beside_one_that_there_is() -> None:
    refused = CliRunner().invoke(app, ["chaos", "--list", "--only", "hung", "--only", "nosuch"])
    assert refused.exit_code == 2
    assert "nosuch" in refused.output


def test_a_precision_that_there_is_not_is_refused() -> None:
    refused = CliRunner().invoke(app, ["detector", "--precision", "nosuch"])
    assert refused.exit_code == 2
    assert "bf16" in refused.output
