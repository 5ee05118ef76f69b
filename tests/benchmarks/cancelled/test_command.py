"""Cancelled calls on real servers; few of them."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.command import app

pytestmark = pytest.mark.e2e


@pytest.mark.slow
def test_both_servers_are_told_of_calls_that_were_given_up() -> None:
    answer = CliRunner().invoke(app, ["cancelled", "--calls", "400", "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert list(told) == ["grpc.aio alone", "Ferry's gateway"]
    assert all(growth["calls"] == 400 and growth["resident"] > 10**7 for growth in told.values())
