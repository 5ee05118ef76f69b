"""Labels by both clients, and by the command."""

import pytest
from typer.testing import CliRunner

from cli.main import app
from ferry.client import AsyncClient, Client, InvalidRequestError, Label


def test_labels_travel_a_thousand_a_call_and_refusals_name_their_place(gateway, address):
    given = [Label("an-answer", index % 3, "sad") for index in range(1001)]
    with Client(address) as client:
        refused = client.feedback(given)
    assert [len(message.feedback) for message in gateway.requests] == [1000, 1]
    assert [(index, error.code) for index, error in refused] == [(999, "NOT_FOUND"), (1000, "NOT_FOUND")]


async def test_the_same_with_await(gateway, address):
    async with AsyncClient(address) as client:
        assert [index for index, _ in await client.feedback([Label("an-answer", 0, "sad")])] == [0]


def test_an_expression_that_is_none_is_refused_before_it_is_sent(gateway, address):
    with Client(address) as client, pytest.raises(InvalidRequestError) as caught:
        client.feedback([Label("an-answer", 0, "bored")])
    assert caught.value.field == "labels[0]"
    assert not gateway.requests


def test_the_command_reads_a_table_and_says_which_lines_are_refused(gateway, address, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("request_id,face,expression\nan-answer,0,Happy\nan-answer,1,sad\n")
    done = CliRunner().invoke(app, ["feedback", str(table), "--address", address])
    assert done.exit_code == 1
    assert "1 label is kept, 1 not" in done.output
    assert "line 3: no such answer" in done.output
    table.write_text("request_id,face\nan-answer,0\n")
    assert "no column expression" in CliRunner().invoke(app, ["feedback", str(table)]).output
