"""A number that no benchmark can work with is refused before anything is started."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmarks.command import app


@pytest.mark.parametrize(
    "arguments",
    [
        ["load", "--rate", "-3"],
        ["load", "--rate", "5", "--rate", "0"],
        ["chaos", "--list", "--capacity", "1e9"],
        ["decoding", "--megapixels", "0"],
        ["experiments", "--seed", "-1"],
    ],
)
def test_a_number_out_of_its_range_is_refused(arguments: list[str]) -> None:
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "Input should be" in refused.output
