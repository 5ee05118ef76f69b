"""`ferry jobs` against a gateway of a few lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ferry.client import UnavailableError
from ferry.v1 import gateway_pb2
from tests.client.conftest import FakeGateway, address, gateway
from tests.processes import free_port

__all__ = ["address", "gateway"]

run = CliRunner().invoke

DONE, FAILED, RUNNING, UNKNOWN = ("d" * 32, "f" * 32, "c" * 32, "0" * 32)


@pytest.fixture
def photos(tmp_path: Path, gateway: FakeGateway) -> list[str]:
    """Three, the second one of which the gateway refuses."""
    gateway.item_error = lambda request: (
        gateway_pb2.ItemError(code=3, message="is not a readable image") if request.image == b"bad" else None
    )
    paths = [tmp_path / name for name in ("a.jpg", "bad.jpg", "b.jpg")]
    for path in paths:
        path.write_bytes(b"bad" if path.stem == "bad" else b"12345678")
    return [str(path) for path in paths]


def test_one_bad_photo_does_not_stop_the_others(address: str, photos: list[str]) -> None:
    result = run(app, ["jobs", "submit", *photos, "--address", address])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{'ab' * 16}  {photos[0]}", f"{'ab' * 16}  {photos[2]}"]
    assert result.stderr == f"{photos[1]}: image: is not a readable image\n"


def test_programs_get_every_id_and_every_error(address: str, photos: list[str]) -> None:
    result = run(app, ["jobs", "submit", *photos, "--json", "--address", address])
    assert result.exit_code == 1
    first, second, third = json.loads(result.stdout)
    assert (first, third) == tuple({"job_id": "ab" * 16, "path": photos[at]} for at in (0, 2))
    assert second == {"path": photos[1], "error": "image: is not a readable image", "code": "INVALID_ARGUMENT"}


def test_an_unknown_id_is_named_and_the_others_are_shown(address: str) -> None:
    result = run(app, ["jobs", "get", UNKNOWN, DONE, FAILED, "--address", address])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"{DONE}  succeeded: happy 0.75", f"{FAILED}  failed: image: broken"]
    assert result.stderr == f"{UNKNOWN}: there is no such job\n"
    result = run(app, ["jobs", "get", UNKNOWN, DONE, "--json", "--address", address])
    unknown, done = json.loads(result.stdout)
    assert unknown == {"job_id": UNKNOWN, "error": "there is no such job", "code": "NOT_FOUND"}
    assert done["state"] == "succeeded"


def test_what_became_of_jobs_that_are_stopped_is_said(address: str, gateway: FakeGateway) -> None:
    result = run(app, ["jobs", "cancel", RUNNING, UNKNOWN, DONE, FAILED, "--address", address])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{RUNNING}  cancelled",
        f"{DONE}  had succeeded already",
        f"{FAILED}  had failed already",
    ]
    assert result.stderr == f"{UNKNOWN}: there is no such job\n"
    assert run(app, ["jobs", "cancel", RUNNING, "--address", address]).exit_code == 0


def test_where_nobody_answers_it_is_said_once(photos: list[str]) -> None:
    result = run(app, ["jobs", "submit", *photos, "--address", f"127.0.0.1:{free_port()}"])
    assert isinstance(result.exception, UnavailableError)
    assert result.stderr == ""
