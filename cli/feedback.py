"""`ferry feedback`: what faces of earlier answers truly showed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cli.connect import ApiKeyOption, TlsCaOption, TlsCertOption, TlsKeyOption, credentials
from cli.output import DEFAULT_ADDRESS, AddressOption, JsonOption, answers, errors, print_json
from ferry.client import Label

_TIMEOUT = 30.0
_SHOWN = 20
"""Most refusals that are printed; the others are counted."""
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprised")
_DIGITS = 9
"""Of a face's position at most; answers have far fewer faces."""
COLUMNS = ("request_id", "face", "expression")


def feedback(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="CSV with the columns request_id, face, expression."
        ),
    ],
    *,
    as_json: JsonOption = False,
    address: AddressOption = DEFAULT_ADDRESS,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Label faces of earlier answers, so that `ferry ab report` can judge variants by them.

    The request id is in every answer (`ferry predict --json`), the face is its position there, from 0. A label that is
    refused is reported, the others are kept, and the exit code is 1.
    """
    labels = list(read(path))
    caller = credentials(tls_ca, tls_cert, tls_key, api_key)
    with caller.client(address, _TIMEOUT) as client:
        refused = client.feedback(labels)
    if as_json:
        rows = [{"line": index + 2, "error": str(error), "code": error.code} for index, error in refused]
        print_json({"accepted": len(labels) - len(refused), "refused": rows})
    else:
        kept = len(labels) - len(refused)
        answers.print(f"{kept} {'label is' if kept == 1 else 'labels are'} kept, {len(refused)} not", highlight=False)
        for index, error in refused[:_SHOWN]:
            errors.print(f"line {index + 2}: {error}", markup=False, highlight=False, soft_wrap=True)
        if len(refused) > _SHOWN:
            errors.print(f"and {len(refused) - _SHOWN} more", highlight=False)
    if refused:
        raise typer.Exit(1)


def read(path: Path) -> Iterator[Label]:
    """The labels of a file.

    Raises:
        typer.BadParameter: it is no such file; says where.
    """
    try:
        yield from _rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"{path} is no CSV file in UTF-8") from error


def _rows(path: Path) -> Iterator[Label]:
    # Spreadsheets put a mark before the first column's name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise typer.BadParameter(
                f"{path} has no column {missing[0]}; its first line must name {', '.join(COLUMNS)}"
            )
        for number, row in enumerate(rows, start=2):
            face, expression = (row["face"] or "").strip(), (row["expression"] or "").strip()
            if not (face.isascii() and face.isdigit() and len(face) <= _DIGITS):
                raise typer.BadParameter(f"{path}, line {number}: face must be a number from 0, not {face!r}")
            if expression.lower() not in EXPRESSIONS:
                wanted = f"expression must be one of {', '.join(EXPRESSIONS)}"
                raise typer.BadParameter(f"{path}, line {number}: {wanted}, not {expression!r}")
            yield Label((row["request_id"] or "").strip(), int(face), expression.lower())
