"""`ferry feedback` of files that people write by hand or with a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cli.feedback import EXPRESSIONS, read
from ferry.client.calls import EXPRESSION_NUMBERS

HEAD = "request_id,face,expression\n"


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(b"\xef\xbb\xbf" + (HEAD + "abc, 0 , Happy\r\n").encode())
    (label,) = read(file)
    assert (label.request_id, label.face, label.expression) == ("abc", 0, "happy")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("foo,bar\n1,2\n", "no column request_id"),
        (HEAD + "abc,0,happy\nabc,0,grumpy\n", "line 3: expression must be one of angry, .*, not 'grumpy'"),
        (HEAD + "abc,0\n", "line 2: expression must be one of"),
        (HEAD + "abc,first,happy\n", "line 2: face must be a number from 0, not 'first'"),
        (HEAD + "abc,-1,happy\n", "line 2: face must be"),
        (HEAD + f"abc,{'9' * 5000},happy\n", "line 2: face must be"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)
    with pytest.raises(typer.BadParameter, match=says):
        list(read(file))


def test_a_picture_is_no_file_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(typer.BadParameter, match=r"photo\.jpg is no CSV file"):
        list(read(file))


def test_the_expressions_are_those_of_the_contract() -> None:
    assert set(EXPRESSIONS) == set(EXPRESSION_NUMBERS)
