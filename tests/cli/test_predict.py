"""`ferry predict` and `ferry status` against a gateway of a few lines."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cli.connect import credentials
from cli.main import app, main
from cli.records import lines
from ferry.client import Client, MismatchError, UnavailableError
from ferry.v1 import gateway_pb2
from tests.client.conftest import FakeGateway, address, gateway
from tests.full_disk import full_disk

__all__ = ["address", "gateway"]

run = CliRunner().invoke


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "one.png"
    path.parent.mkdir()
    Image.new("RGB", (64, 48), "grey").save(path)
    return path


def test_json_says_all(address: str, photo: Path, gateway: FakeGateway) -> None:
    result = run(app, ["predict", str(photo), "--json", "--tta", "--address", address])
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    assert record["path"] == str(photo)
    assert record["cached"] is True
    assert record["timings_ms"]["total"] == 12.5
    (face,) = record["faces"]
    assert face["box"] == [1.0, 2.0, photo.stat().st_size + 1.0, 12.0]
    assert (face["score"], face["expression"], face["confidence"], face["degraded"]) == (0.5, "happy", 0.75, True)
    assert face["probabilities"]["happy"] == pytest.approx(0.7)
    (model,) = face["models"]
    assert (model["name"], model["version"], model["expression"], model["weight"]) == ("arcface", "1", "happy", 1.0)
    assert sum(model["probabilities"].values()) == pytest.approx(1)
    assert gateway.requests[-1].requests[0].options.test_time_augmentation  # type: ignore[attr-defined]


def test_one_broken_photo_does_not_stop_the_others(address: str, photo: Path, gateway: FakeGateway) -> None:
    broken = photo.with_name("broken.jpg")
    broken.write_bytes(b"not a photo")

    def item_error(request: gateway_pb2.RecognizeRequest) -> gateway_pb2.ItemError | None:
        return gateway_pb2.ItemError(code=3, message="image: unknown format") if b"not a" in request.image else None

    gateway.item_error = item_error
    paths = [str(photo.parent), "/nowhere.jpg"]
    result = run(app, ["predict", *paths, "--json", "--address", address])
    assert result.exit_code == 1
    records = json.loads(result.stdout)
    assert [Path(record["path"]).name for record in records] == ["broken.jpg", "one.png", "nowhere.jpg"]
    assert "unknown format" in records[0]["error"]
    assert records[1]["faces"]
    assert "cannot read" in records[2]["error"]
    assert "2 of 3 photos have no answer" in result.stderr


def test_people_get_a_table_and_pictures(address: str, photo: Path, tmp_path: Path) -> None:
    twin = tmp_path / "photos" / "b" / "one.jpg"
    twin.parent.mkdir()
    Image.new("L", (800, 600)).save(twin)
    result = run(app, ["predict", str(photo.parent), "--annotate", str(tmp_path / "out"), "--address", address])
    assert result.exit_code == 0, result.output
    assert "happy" in result.stdout
    assert "0.75" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one-2.jpg", "one.jpg"]


def test_no_picture_takes_the_place_of_a_photo(address: str, photo: Path, tmp_path: Path) -> None:
    original = photo.with_suffix(".jpg")
    Image.new("RGB", (64, 48), "grey").save(original)
    before = original.read_bytes()
    (tmp_path / "link").symlink_to(photo.parent)
    for folder in (photo.parent, tmp_path / "link"):
        arguments = ["predict", str(original), "--annotate", str(folder), "--address", address]
        result = run(app, arguments, env={"COLUMNS": "300"})
        assert result.exit_code == 2, result.output
        assert "one.jpg is one of the photos" in result.output
    assert original.read_bytes() == before


def test_a_picture_for_which_there_is_no_room_is_no_picture(address: str, photo: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(photo), "--annotate", str(tmp_path / "out"), "--address", address]
    with full_disk(512):
        result = run(app, arguments)
    assert result.exit_code == 1
    assert "cannot draw into" in result.stdout
    assert "0 pictures in" in result.stderr


def test_signs_that_are_for_terminals_are_shown(address: str, photo: Path) -> None:
    photo.rename(photo.with_name("a\x1b[31m\nb.png"))
    result = run(app, ["predict", str(photo.parent), "--address", address])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].endswith("a\\x1b[31m\\nb.png: 1 face, 12 ms, cached")


@pytest.mark.parametrize("as_json", [False, True])
def test_files_that_are_no_photos_are_listed(address: str, photo: Path, as_json: bool) -> None:
    for number in range(12):
        (photo.parent / f"notes-{number:02}.txt").touch()
    arguments = ["predict", str(photo.parent), "--address", address, *(["--json"] if as_json else [])]
    result = run(app, arguments)
    assert result.exit_code == 0, result.output
    (last,) = [line for line in result.stderr.splitlines() if "no photos" in line]
    assert last.startswith("12 files are left out")
    assert "notes-00.txt" in last
    assert "notes-10.txt" not in last
    assert last.endswith("and 2 more")
    if as_json:
        assert len(json.loads(result.stdout)) == 1


def test_photos_of_phones_are_photos(address: str, photo: Path) -> None:
    photo.rename(photo.with_suffix(".HEIC"))
    result = run(app, ["predict", str(photo.parent), "--json", "--address", address])
    assert result.exit_code == 0, result.output
    assert [Path(record["path"]).suffix for record in json.loads(result.stdout)] == [".HEIC"]
    assert "left out" not in result.stderr


def test_a_folder_without_photos_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "film.mov").touch()
    result = run(app, ["predict", str(tmp_path)], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "1 file is left out, by name no photos" in result.output


def test_an_empty_path_is_not_the_folder_one_is_in(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photo.parent)
    result = run(app, ["predict", ""], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "a path is empty" in result.output


def test_an_empty_folder_is_a_usage_error(tmp_path: Path) -> None:
    result = run(app, ["predict", str(tmp_path)])
    assert result.exit_code == 2
    assert "no photos" in result.output


def test_what_is_not_there_starts_no_cluster(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.predict.Cluster", lambda *args: pytest.fail("started a cluster"))
    for arguments, says in (
        (["/nowhere.jpg", "/nor/here"], "no /nowhere.jpg, no /nor/here"),
        ([str(photo), "--annotate", str(photo)], "is a file"),
        (["http://example.com/a.jpg"], "http://example.com/a.jpg is an address: download it first"),
        ([str(photo), "https://example.com/a.jpg"], "https://example.com/a.jpg is an address"),
    ):
        result = run(app, ["predict", *arguments], env={"COLUMNS": "300"})
        assert result.exit_code == 2
        assert says in result.output


@pytest.mark.parametrize("environment", [False, True])
def test_where_somebody_named_an_address_no_cluster_is_started(
    photo: Path, monkeypatch: pytest.MonkeyPatch, environment: bool
) -> None:
    monkeypatch.setattr("cli.predict.Cluster", lambda *args: pytest.fail("started a cluster"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        where = f"127.0.0.1:{closed.getsockname()[1]}"
    arguments = ["predict", str(photo), *([] if environment else ["--address", where])]
    result = run(app, arguments, env={"FERRY_ADDRESS": where} if environment else {})
    assert result.exit_code == 1
    assert f"no gateway answers at {where}" in str(result.exception)


def test_people_see_each_photo_in_80_columns_as_it_is_answered(address: str, photo: Path) -> None:
    long = photo.with_name("a" * 90 + ".png")
    photo.rename(long)
    result = run(app, ["predict", str(long), "--address", address], env={"COLUMNS": "80"})
    name, *rest = result.stdout.splitlines()
    assert name == f"{long}: 1 face, 12 ms, cached"
    assert all(len(line) <= 80 for line in rest)
    assert rest[0].startswith("   0  happy 0.75       at 1, 2, ")
    assert "without efficientnet" in rest[0]
    assert rest[1].strip() == "arcface 1: happy 0.70"


def test_a_model_and_its_opinion_stay_on_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(address) as client:
        answer = client.recognize(b"12345678")
    (face,) = answer.faces
    for length in range(2, 40):  # wherever the line ends
        models = [replace(one, model=replace(one.model, name="m" * length)) for one in face.models * 5]
        said = replace(answer, faces=(replace(face, models=tuple(models)),))
        opinion = f"{'m' * length} 1: happy 0.70"
        assert list(lines("photo", said))[2] == "      " + ", ".join([opinion] * 5), "to a file: one line"
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True)
            shown = list(lines("photo", said))[2:]
        assert all(len(line) <= 80 for line in shown)
        assert sum(line.count(opinion) for line in shown) == 5


def test_whoever_looks_sees_how_far_it_is(address: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(19):
        photo.with_name(f"{number}.png").write_bytes(photo.read_bytes())
    terminal = io.StringIO()
    monkeypatch.setattr("cli.predict.errors", Console(file=terminal, force_terminal=True, width=80))
    result = run(app, ["predict", str(photo.parent), "--address", address])
    assert result.exit_code == 0
    assert result.stdout.count("1 face") == 20, "what is printed elsewhere is not mixed up with it"
    shown = re.findall(r"(\d+)/20", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()))
    assert (shown[0], shown[-1]) == ("0", "20")


def test_without_a_terminal_no_line_of_progress_is_written(address: str, photo: Path) -> None:
    result = run(app, ["predict", str(photo), "--address", address])
    assert "/1" not in result.stderr


def test_tables_hold_a_row_for_each_face_and_for_what_has_none(
    address: str, photo: Path, gateway: FakeGateway, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = photo.with_name("broken.jpg")
    broken.write_bytes(b"not a photo")
    gateway.item_error = lambda request: (
        gateway_pb2.ItemError(code=3, message="image: unknown format") if b"not a" in request.image else None
    )
    files = [tmp_path / f"out.{suffix}" for suffix in ("csv", "parquet", "jsonl")]
    options = [part for file in files for part in ("--out", str(file))]
    result = run(app, ["predict", str(photo.parent), "--address", address, *options])
    assert result.exit_code == 1
    with files[0].open(newline="") as file:
        by_csv = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    by_parquet = {Path(row["path"]).name: row for row in parquet.read_table(files[1]).to_pylist()}
    by_line = {Path(row["path"]).name: row for row in map(json.loads, files[2].read_text().splitlines())}
    assert by_csv.keys() == by_parquet.keys() == by_line.keys() == {"one.png", "broken.jpg"}
    assert (by_csv["one.png"]["expression"], by_csv["one.png"]["face"]) == ("happy", "0")
    assert by_parquet["one.png"]["happy"] == pytest.approx(0.7)
    assert by_parquet["broken.jpg"]["face"] is None
    assert "unknown format" in by_csv["broken.jpg"]["error"]
    assert "unknown format" in by_line["broken.jpg"]["error"]
    assert not list(tmp_path.glob(".*.new"))
    said = result.output.replace("\n", "")
    assert f"a table in {files[0]}" in said
    assert f"answers in {files[2]}" in said


@pytest.mark.parametrize("as_json", [False, True])
def test_names_of_files_need_not_be_text(
    address: str,
    photo: Path,
    tmp_path: Path,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pyarrow.parquet")
    photo.rename(photo.with_name(os.fsdecode(b"\xff.png")))
    options = [part for suffix in ("csv", "parquet", "jsonl") for part in ("--out", str(tmp_path / f"out.{suffix}"))]
    command = ["ferry", "predict", str(photo.parent), "--address", address, *options, *(["--json"] if as_json else [])]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert ("\\ufffd.png" if as_json else "\\udcff.png: 1 face") in said.out
    assert "\ufffd.png" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(("name", "says"), [("a.xls", ".csv"), ("none/a.csv", "cannot be written")])
def test_a_table_that_cannot_be_written_is_named_before_the_work(
    address: str, photo: Path, gateway: FakeGateway, tmp_path: Path, name: str, says: str
) -> None:
    arguments = ["predict", str(photo), "--address", address, "--out", str(tmp_path / name)]
    result = run(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert says in result.output
    assert not gateway.requests


def test_elsewhere_no_cluster_is_started(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.predict.Cluster", lambda *args: pytest.fail("started a cluster"))
    result = run(app, ["predict", str(photo), "--address", "192.0.2.1.invalid:1"])
    assert result.exit_code == 1
    assert "ferry serve" in str(result.exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_temporary_cluster(
    photo: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    cluster, before = Mock(address="127.0.0.1:1"), signal.getsignal(number)
    monkeypatch.setattr("cli.predict.Cluster", lambda *args: cluster)
    monkeypatch.setattr("cli.predict._recognize", lambda *args: signal.raise_signal(number))
    monkeypatch.setattr("ferry.client.Client.status", Mock(side_effect=UnavailableError("nobody", code="UNAVAILABLE")))
    result = run(app, ["predict", str(photo)])
    assert result.exit_code == 128 + number
    cluster.stop.assert_called_once_with()
    assert signal.getsignal(number) is before


def test_without_models_it_says_where_to_look(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferry.client.Client.status", Mock(side_effect=UnavailableError("nobody", code="UNAVAILABLE")))
    result = run(app, ["predict", str(photo), "--models-dir", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "starting a temporary one" in result.output
    assert "--models-dir" in str(result.exception)


def test_status(address: str) -> None:
    result = run(app, ["status", "--address", address, "--json"])
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["address"] == address
    assert record["variants"][0]["models"][0]["name"] == "arcface"
    assert record["variants"][0]["models"][0]["load_failure"] == {"version": "2", "attempts": 3, "retry_time": 0}
    people = run(app, ["status", "--address", address], env={"COLUMNS": "300"})
    assert "version 2 cannot be loaded (tried 3 x, again in 0 s)" in people.stdout
    assert "arcface" in people.stdout
    assert "healthy" in people.stdout


def test_with_credentials_no_cluster_is_started(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.predict.Cluster", lambda *args: pytest.fail("started a cluster"))
    result = run(app, ["predict", str(photo), "--address", "127.0.0.1:1", "--api-key", "s3cret"])
    assert result.exit_code != 0
    assert isinstance(result.exception, UnavailableError)


@pytest.mark.parametrize("key", ["s3c\nret", "s3cr\u00e9t", "s3c\x7fret", "s3c\tret", "\n"])
def test_a_key_that_cannot_be_sent_is_named_and_not_shown(key: str) -> None:
    for flag, variable in ((["--api-key", key], {}), ([], {"FERRY_API_KEY": key})):
        result = run(app, ["status", *flag], env=variable)
        assert result.exit_code == 2
        said = " ".join(result.output.replace("│", " ").split())
        assert ("--api-key (FERRY_API_KEY) is white space" if key == "\n" else "must be one line of ASCII") in said
        assert "s3c" not in said


def test_an_empty_key_is_none() -> None:
    assert not credentials(None, None, None, "").given


def test_where_the_two_ends_do_not_get_on_no_cluster_is_started(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a cluster at the usual address that speaks TLS."""
    mismatch = MismatchError("it speaks TLS", code="UNAVAILABLE")
    monkeypatch.setattr("cli.predict.Cluster", lambda *args: pytest.fail("started a cluster"))
    monkeypatch.setattr("ferry.client.Client.status", Mock(side_effect=mismatch))
    result = run(app, ["predict", str(photo)])
    assert result.exception is mismatch


def test_certificates_that_do_not_fit_are_a_usage_error(tmp_path: Path) -> None:
    for arguments, says in (
        (["--tls-cert", "caller.crt"], "--tls-key: must be given with --tls-cert"),
        (["--tls-ca", str(tmp_path / "none")], f"--tls-ca: {tmp_path / 'none'} cannot be read"),
    ):
        result = run(app, ["status", *arguments], env={"COLUMNS": "300"})
        assert result.exit_code == 2
        assert says in result.output


def test_the_key_reaches_the_gateway(address: str, photo: Path, gateway: FakeGateway) -> None:
    arguments = ["predict", str(photo), "--address", address]
    assert run(app, arguments, env={"FERRY_API_KEY": "s3cret"}).exit_code == 0
    assert gateway.metadata["authorization"] == "Bearer s3cret"
